// The API: who is signed in, calls with the access token, and its renewal. Tokens are kept in sessionStorage: they end with the tab,
// and no cookie means no forged request.
import { Refusal, refusalOf } from "./stream.js";

const STORE = "millrace-session";
let session = JSON.parse(sessionStorage.getItem(STORE) || "null");
let renewing = null;

export const signedIn = () => session !== null;

function keep(tokens) {
  session = tokens;
  if (tokens) sessionStorage.setItem(STORE, JSON.stringify(tokens));
  else sessionStorage.removeItem(STORE);
}

export async function signIn(email, password) {
  const response = await fetch("/api/v1/auth/login", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ email, password }) });
  if (!response.ok) throw await refusalOf(response);
  keep(await response.json());
}

export function signOut() {
  if (session) send("POST", "/api/v1/auth/logout", { refresh_token: session.refresh_token }).catch(() => {});
  keep(null);
}

/// One renewal at a time, whoever asks: a refresh token is good for one successor.
function renew() {
  renewing ??= (async () => {
    const response = await fetch("/api/v1/auth/refresh", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ refresh_token: session.refresh_token }) });
    if (response.ok) keep(await response.json());
    else if (response.status === 401) { keep(null); dispatchEvent(new Event("signedout")); }
  })().finally(() => { renewing = null; });
  return renewing;
}

/// The raw response; a token that has expired is renewed once.
export async function send(method, path, body, headers = {}, signal) {
  const go = () => fetch(path, { method, signal, headers: { ...(body && { "Content-Type": "application/json" }), Authorization: `Bearer ${session?.access_token}`, ...headers }, ...(body && { body: JSON.stringify(body) }) });
  const response = await go();
  if (response.status !== 401 || !session) return response;
  await renew();
  return session ? go() : response;
}

/// The answer's JSON; a refusal is thrown.
export async function call(method, path, body, headers) {
  const response = await send(method, path, body, headers);
  if (!response.ok) throw await refusalOf(response);
  return response.status === 204 ? null : response.json();
}

/// fetch() cannot tell how much has been sent.
export function upload(form, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/contents/upload");
    request.setRequestHeader("Authorization", `Bearer ${session.access_token}`);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error("the connection was lost"));
    request.onload = () => {
      let body = {};
      try { body = JSON.parse(request.responseText); } catch { /* no JSON: the status says enough */ }
      if (request.status === 201) resolve(body);
      else reject(new Refusal(request.status, body, Number(request.getResponseHeader("retry-after")) || 0));
    };
    request.send(form);
  });
}
