// An answer as it is being given: server-sent events over fetch, because EventSource can neither post nor send headers. A connection
// that breaks is taken up again where it broke: the same request with the same Idempotency-Key finds the same job, and Last-Event-ID
// says what has been seen. Shared by the console and the widget.

const ATTEMPTS = 6;

/// Cuts a byte stream into events {id, event, data}.
export async function* readEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const event = { id: null, event: "message", data: "" };
      for (const line of buffer.slice(0, end).split("\n")) {
        const colon = line.indexOf(":");
        if (colon <= 0) continue;
        const [field, text] = [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, "")];
        if (field === "data") event.data += event.data ? "\n" + text : text;
        else if (field === "id" || field === "event") event[field] = text;
      }
      buffer = buffer.slice(end + 2);
      if (event.data) yield event;
    }
  }
}

/// What a refusal says, in the words of the server.
export class Refusal extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || `HTTP ${status}`);
    Object.assign(this, { status, code: body.error_code || "", field: body.field || "", retryAfter });
  }
}

export async function refusalOf(response) {
  const body = await response.json().catch(() => ({}));
  return new Refusal(response.status, body, Number(response.headers.get("retry-after")) || 0);
}

/// Asks and calls `on[event](data)` for every event; resolves with the result. `send(headers)` makes the request.
export async function ask(send, on, signal) {
  const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  let last = null;
  for (let attempt = 1; ; attempt++) {
    try {
      const headers = { Accept: "text/event-stream", "Idempotency-Key": key };
      if (last) headers["Last-Event-ID"] = last;
      const response = await send(headers);
      if (!response.ok) throw await refusalOf(response);
      for await (const event of readEvents(response.body)) {
        if (event.id) last = event.id;
        const data = JSON.parse(event.data);
        on[event.event]?.(data);
        if (event.event === "result") return data;
        if (event.event === "error") {
          const { code, message } = data.error || data;
          throw new Refusal(0, { detail: message, error_code: code }, 0);
        }
        attempt = 1;
      }
    } catch (error) {
      if (error instanceof Refusal || signal?.aborted || attempt >= ATTEMPTS) throw error;
    }
    if (attempt >= ATTEMPTS) throw new Error("the connection was lost");
    on.reconnecting?.();
    await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt * (0.5 + Math.random() / 2)));
  }
}
