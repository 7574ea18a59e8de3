// The REST API as functions. An error response becomes a Problem (RFC 9457) with a message for the user.

const csrf = document.querySelector('meta[name="csrf-token"]').content;

export class Problem extends Error {
  constructor(status, {title, detail}, retryAfter) {
    super(detail || title || `The server responded with status ${status}.`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export function predict(file, {blinded, signal}) {
  const body = new FormData();
  body.append("files", file, file.name);
  return request(`/api/v1/predictions?blinded=${blinded}`, {method: "POST", body, signal});
}

export function prediction(id, {reveal = false} = {}) {
  return request(`/api/v1/predictions/${id}${reveal ? "?reveal=true" : ""}`);
}

export function giveFeedback(id, verdict, blinded) {
  return request(`/api/v1/predictions/${id}/feedback`, {
    method: "POST",
    headers: {"Content-Type": "application/json"},
    body: JSON.stringify({verdict, blinded}),
  });
}

export async function modelPanel() {
  const response = await fetch("/model");
  if (!response.ok) throw new Problem(response.status, {});
  return response.text();
}

export const resultText = (id) => request(`/studies/${id}/text`);

export async function signOut() {
  await fetch("/logout", {method: "POST", headers: {"X-CSRF-Token": csrf}});
  location.assign("/login");
}

export const imageUrl = (id, name) => `/api/v1/predictions/${id}/${name}.png`;

async function request(path, options = {}) {
  const headers = {...options.headers, Accept: "application/json", "X-CSRF-Token": csrf};
  const response = await fetch(path, {...options, headers, credentials: "same-origin"});
  if (response.status === 401) location.assign("/login");
  const content = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, content, Number(response.headers.get("Retry-After")));
  return content;
}
