// The studies on the worklist of this browser tab, as {id, file}. The server does not store file names, so the tab keeps
// them; results are stored on the server.

const KEY = "pneumonia.worklist";

export const studies = () => JSON.parse(sessionStorage.getItem(KEY) ?? "[]");

export const keep = (list) => sessionStorage.setItem(KEY, JSON.stringify(list));

export const nameOf = ({id, file}) => file || studies().find((study) => study.id === id)?.file || `image ${id.slice(0, 8)}`;
