// salt-api: logging in, calling runners, listening to the master's events.
//
// The token goes into a header. Cookies are neither sent nor kept, so no other page can act in this one's name.

const HOME = new URL("..", document.baseURI);
const LONG = 330000;
const RETRY = { first: 1000, longest: 15000 };

const TRIES = 4;

// What the other side has said no with, in its own words; `status` if it was HTTP's.
export class Refusal extends Error {
  constructor(words, status = null) {
    super(words);
    this.status = status;
  }
}

async function ask(path, token, body, timeout = LONG) {
  const answer = await fetch(new URL(path, HOME), {
    method: "POST",
    headers: {
      Accept: "application/json", "Content-Type": "application/json", ...(token ? { "X-Auth-Token": token } : {}),
    },
    body: JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    signal: AbortSignal.timeout(timeout),
  });
  if (!answer.ok) {
    throw new Refusal(`${answer.status}: ${wordsOf(await answer.text()) || answer.statusText}`, answer.status);
  }
  return (await answer.json()).return[0];
}

// CherryPy answers a page, Salt JSON.
function wordsOf(text) {
  try {
    return String(JSON.parse(text).return);
  } catch {
    return /<p>([^<]*)<\/p>/.exec(text)?.[1].replaceAll("&quot;", '"').replaceAll("&#x27;", "'")
      .replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&") || "";
  }
}

export async function logIn(username, password, eauth) {
  return ask("login", null, { username, password, eauth });
}

export async function logOut(token) {
  return ask("logout", token, {}).catch(() => null);
}

// What a runner returned. Throws a Refusal with what the runner, or salt-api on its behalf, says against it.
export async function call(token, fun, kwarg = {}, timeout = LONG) {
  const { data } = await ask("", token, [{ client: "runner", fun, kwarg, full_return: true }], timeout);
  const returned = data.return;
  // None of the functions that are called here returns a text: it is what Salt says in their place. (Its own `success`
  // judges whatever comes with an outputter as if it were states, and is false where some part of it is empty.)
  if (typeof returned === "string") {
    throw new Refusal(errorOf(returned));
  }
  // What names its own outputter comes wrapped.
  const wrapped = returned && typeof returned === "object" && "outputter" in returned && "data" in returned;
  return wrapped ? returned.data : returned;
}

// The same for what changes nothing, which may be asked again. The salt-api of Salt 3006 loads all runners anew for each
// call, and two calls at once, of whomever, can take them away from each other: it answers 500 then.
export async function read(token, fun, kwarg, timeout) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call(token, fun, kwarg, timeout);
    } catch (error) {
      if (error.status !== 500 || tries === TRIES) {
        throw error;
      }
      // Not in step with whoever was in the way.
      await new Promise((done) => { setTimeout(done, 300 + 1200 * Math.random()); });
    }
  }
}

// A runner that raised is returned as a traceback, whose frames are indented; its words begin after the last of them.
function errorOf(text) {
  const last = text.lastIndexOf("Traceback (most recent call last):");
  if (last < 0) {
    return text;
  }
  const lines = text.slice(last).split("\n").slice(1);
  const begin = lines.findIndex((line) => line && !line.startsWith(" "));
  return begin < 0 ? text : lines.slice(begin).join("\n").replace(/^[\w.]+: /, "").trim();
}

// The master's events, for as long as `signal` lets it. Only their tags are read: whoever may send an event can write
// into it what he likes, so an event is no more than a reason to look.
export class Stream {
  constructor(token, signal, { heard, opened, broken, over }) {
    Object.assign(this, { token, signal, heard, opened, broken, over, at: 0, abort: null });
    this.run();
  }

  async run() {
    let wait = RETRY.first;
    while (!this.signal.aborted) {
      this.abort = new AbortController();
      try {
        const answer = await fetch(new URL("events", HOME), {
          headers: { "X-Auth-Token": this.token }, credentials: "omit", cache: "no-store",
          signal: AbortSignal.any([this.signal, this.abort.signal]),
        });
        if (answer.status === 401) {
          this.over();
          return;
        }
        if (!answer.ok) {
          throw new Error(`salt-api answers ${answer.status}`);
        }
        this.at = Date.now();
        wait = RETRY.first;
        this.opened();
        await this.read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
        throw new Error("salt-api has ended it");
      } catch (error) {
        if (this.signal.aborted) {
          return;
        }
        this.broken(error.message);
      }
      await new Promise((done) => { setTimeout(done, wait); });
      wait = Math.min(2 * wait, RETRY.longest);
    }
  }

  async read(reader) {
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      this.at = Date.now();
      const lines = (rest + value).split("\n");
      // The beginning of a line says whether it is a tag; a job's return can be megabytes.
      rest = lines.pop().slice(0, 500);
      lines.filter((line) => line.startsWith("tag: ")).forEach((line) => this.heard(line.slice(5)));
    }
  }

  // To be told after each call that was answered: each is an event itself, so a stream without it is dead.
  answered(begun) {
    setTimeout(() => {
      if (this.at < begun && this.abort && !this.signal.aborted) {
        this.abort.abort();
      }
    }, 10000);
  }
}
