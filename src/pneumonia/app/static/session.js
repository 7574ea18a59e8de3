// Which studies this browser tab has on its worklist, as {id, file}. The server forgets file names with the images, so
// that the tab remembers them; answers stay on the server.

const KEY = "pneumonia.worklist";

export const studies = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");

export const keep = (list) => sessionStorage.setItem(KEY, JSON.stringify(list));

export const nameOf = ({id, file}) => file || studies().find((study) => study.id === id)?.file || `image ${id.slice(0, 8)}`;
