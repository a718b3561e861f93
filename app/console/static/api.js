// Talking to the gateway: bearer tokens from this tab alone, errors in words.

const TITLES = {
  0: "The gateway cannot be reached", 400: "The gateway refused the request",
  401: "This needs a key", 403: "The key may not do this", 404: "There is no such thing here",
  413: "The prompt is too long", 429: "A limit is reached", 500: "The gateway failed",
  502: "No model answered", 503: "The gateway cannot serve this now", 504: "No model answered in time",
};

export class ApiError extends Error {
  constructor(message, { status = 0, code = null, attempts = [], models = {} } = {}) {
    super(message);
    Object.assign(this, { status, code, attempts, models });
    this.title = code === "invalid_admin_token" ? "This needs the admin token"
      : TITLES[status] ?? `The gateway answered ${status}`;
  }

  // Further lines: what each attempt ended with, or why each model was excluded.
  get details() {
    const tried = this.attempts.map((each) =>
      `${each.model}: ${each.error.replaceAll("_", " ")}${each.status ? ` (${each.status})` : ""} after ${each.ms} ms`);
    const excluded = Object.entries(this.models).map(([model, why]) => `${model}: ${why}`);
    return [...tried, ...excluded];
  }
}

export const secrets = {
  get: (name) => sessionStorage.getItem(`steelyard-${name}`) ?? "",
  set(name, value) {
    if (value) sessionStorage.setItem(`steelyard-${name}`, value);
    else sessionStorage.removeItem(`steelyard-${name}`);
  },
};

// `secret` is "token" for the console's own data, "key" for /v1.
export async function send(path, { secret, body, signal } = {}) {
  const headers = {};
  const value = secrets.get(secret);
  if (value) headers.authorization = `Bearer ${value}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers, signal, credentials: "omit", cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("It does not answer. It may have been stopped, or the network is gone.");
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export const json = async (path, options) => (await send(path, options)).json();

async function failure(response) {
  const { error } = await response.json().catch(() => ({}));
  const { message, ...rest } = error ?? {};
  return new ApiError(message ?? "It did not say why.", { ...rest, status: response.status });
}

// The data of every server-sent event, parsed; ends at [DONE].
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      buffer += value;
      const blocks = buffer.split(/\r?\n\r?\n/);
      buffer = blocks.pop();
      for (const block of blocks) {
        const data = block.split(/\r?\n/).filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).trimStart()).join("\n");
        if (data === "[DONE]") return;
        if (data) yield read(data);
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError("The connection broke while the answer was coming.");
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new ApiError("The answer ended before it was complete.");
}

function read(data) {
  const event = JSON.parse(data);
  if (event.error) {
    const { message, ...rest } = event.error;
    throw new ApiError(message, { ...rest, status: 502 });
  }
  return event;
}
