// The page: who is logged in, what is looked at and when, and where it is shown.

import { decider } from "./decide.js";
import { byId, html, redraw, say } from "./dom.js";
import { UNFINISHED, headlines } from "./headlines.js";
import { Look } from "./look.js";
import { fitTexts, picture } from "./picture.js";
import { decidedOn, plan } from "./plan.js";
import { run } from "./run.js";
import { Refusal, Stream, call, logIn, logOut, read } from "./salt.js";
import { drift, marked, table, wrong, wrongOf } from "./sites.js";
import { clock, when } from "./words.js";

const KEPT = "tungsten-dashboard";
// Milliseconds. An answer that took longer than this is none.
const PATIENCE = 90000;
const ON_RECORD = 10;
// What is drawn of what the master has told.
const SHOWN = ["wrong", "picture", "table", "drift-body", "plans", "runs", "memory-body", "headlines"];

let session = null;
let looks = null;
let stream = null;
let broken = null;
let ending = null;

// --- logging in and out

function begin(found) {
  session = found;
  sessionStorage.setItem(KEPT, JSON.stringify(found));
  byId("login").hidden = true;
  document.querySelector("main").hidden = byId("account").hidden = false;
  byId("user").textContent = found.user;
  ending = new AbortController();
  looks = lookAll();
  stream = new Stream(found.token, ending.signal, {
    heard: (tag) => heard(tag),
    // Only now: what is told before anybody listens is missed.
    opened: () => { broken = null; lookNow(); fresh(); },
    // Without it there are still the regular looks.
    broken: (why) => { broken = why; Object.values(looks).forEach((look) => look.plan()); fresh(); },
    over: () => end("The session is over. Log in again."),
  });
}

function end(why) {
  ending?.abort();
  Object.values(looks || {}).forEach((look) => look.stop());
  session = looks = stream = broken = null;
  sessionStorage.removeItem(KEPT);
  document.querySelector("main").hidden = byId("account").hidden = true;
  byId("decide").close();
  byId("login").hidden = false;
  // Nothing that this person was shown is left for the next one.
  SHOWN.forEach((id) => redraw(byId(id)));
  ["notice", "old", "fresh"].forEach((id) => say(byId(id), ""));
  say(byId("login").querySelector("[role=alert]"), why);
  document.title = "Tungsten sites";
}

async function onLogin(event) {
  event.preventDefault();
  const form = byId("login");
  const button = form.querySelector("button");
  button.disabled = true;
  say(form.querySelector("[role=alert]"), "");
  try {
    const { username, password, eauth } = Object.fromEntries(new FormData(form));
    const { token, user } = await logIn(username, password, eauth);
    form.elements.password.value = "";
    begin({ token, user });
  } catch (error) {
    say(form.querySelector("[role=alert]"),
      error instanceof Refusal ? error.message : `salt-api does not answer: ${error.message}`);
  }
  button.disabled = false;
}

// --- what is looked at

async function asked(fun, kwarg) {
  const begun = Date.now();
  const answer = await read(session.token, fun, kwarg, PATIENCE);
  stream?.answered(begun);
  return answer;
}

function lookAll() {
  const changed = () => show();
  return {
    // The one that asks the nodes.
    sites: new Look({ every: 60000, apart: 10000, changed, take: sitesNow }),
    // The end of a run is told by its record alone.
    runs: new Look({ every: (value) => (isRunning(value) ? 5000 : 15000), apart: 3000, changed, take: runsNow }),
    plans: new Look({ every: 60000, apart: 1000, changed, take: plansNow }),
    drift: new Look({ every: 60000, apart: 5000, changed, take: driftNow }),
  };
}

function lookNow() {
  Object.values(looks).forEach((look) => look.ask());
}

const isRunning = (value) => Object.values(value?.summaries || {}).some((summary) => summary.state === "running");

async function sitesNow(before) {
  const status = await asked("reprovision.status");
  if (!before) {
    // What was reported is asked for each of them.
    looks.drift.ask();
  }
  return status;
}

// The records are the truth of a run; those that have not changed are not read again.
async function runsNow(before) {
  const status = await asked("reprovision.status", { nodes: false });
  const begun = Object.entries(status).filter(([, view]) => view.run);
  const summaries = Object.fromEntries(begun.map(([site, view]) => [site, view.run]));
  const records = await Promise.all(Object.entries(summaries).map(async ([site, summary]) => {
    const same = JSON.stringify(before?.summaries[site]) === JSON.stringify(summary);
    return [site, same ? before.records[site] : await asked("reprovision.record", { site, run: summary.run })];
  }));
  const now = { summaries, records: Object.fromEntries(records) };
  const moved = ([site, summary]) => summary.state !== before?.summaries[site]?.state;
  if (before && Object.entries(summaries).some(moved)) {
    looks.sites.ask();
    looks.plans.ask();
  }
  return now;
}

async function plansNow(before) {
  const [all, runs] = await Promise.all([asked("reprovision.plans"), asked("reprovision.list")]);
  const open = await Promise.all(all.filter((each) => each.state === "open").map((each) => (
    before?.open.find((kept) => kept.plan === each.plan) || asked("reprovision.plan_record", { plan: each.plan }))));
  return { all, open, runs };
}

async function driftNow() {
  const sites = looks.sites.value ? Object.keys(looks.sites.value) : [];
  const reports = await Promise.all(sites.map(async (site) => [site, await asked("reprovision.reported", { site })]));
  try {
    return { found: await asked("drift.show"), why: null, reports: Object.fromEntries(reports) };
  } catch (error) {
    if (!(error instanceof Refusal)) {
      throw error;
    }
    // That there is none is no fault, and is told in the runner's words.
    return { found: null, why: error.message, reports: Object.fromEntries(reports) };
  }
}

function heard(tag) {
  if (/^salt\/reprovision\/[^/]+\/plan\//.test(tag)) {
    looks.plans.ask();
  } else if (tag.startsWith("salt/reprovision/")) {
    looks.runs.ask();
    if (/\/(done|failed)$/.test(tag)) {
      looks.sites.ask();
    }
  } else if (tag.startsWith("tungsten/drift/")) {
    looks.drift.ask();
    looks.plans.ask();
  }
}

// --- where it is shown

function show() {
  const status = looks.sites.value;
  const { summaries, records } = looks.runs.value || { summaries: {}, records: {} };
  const { all, open, runs } = looks.plans.value || { all: [], open: [], runs: [] };
  const texts = status ? wrongOf(status) : [];
  const running = Object.keys(summaries).filter((site) => summaries[site].state === "running");
  byId("wrong").hidden = !texts.length;
  redraw(byId("wrong"), wrong(texts, running));
  if (status) {
    showPicture();
    redraw(byId("table"), table(status));
  }
  const about = looks.drift.value;
  redraw(byId("drift-body"), status && about ? drift(status, about.found, about.why, about.reports, records)
    : "Not looked at yet.");
  redraw(byId("plans"), open.map((each) => plan(each, decide)));
  const shown = Object.keys(records).sort((one, other) => records[other].started.localeCompare(records[one].started));
  redraw(byId("runs"), shown.map((site) => run(site, summaries[site], records[site])));
  redraw(byId("memory-body"), looks.plans.value ? memory(all, runs) : "Not looked at yet.");
  showHeadlines(headlines({ status, summaries, records, open, all, found: about?.found }));
  fresh();
}

function showPicture() {
  const frame = byId("picture");
  if (looks?.sites.value && frame.clientWidth) {
    redraw(frame, picture(looks.sites.value, atWork(), frame.clientWidth));
    fitTexts(frame);
  }
}

function atWork() {
  const { summaries, records } = looks.runs.value || { summaries: {}, records: {} };
  const parts = {};
  for (const [site, summary] of Object.entries(summaries)) {
    if (UNFINISHED.includes(summary.state)) {
      const [far] = Object.values(summary.progress || {});
      parts[site] = { word: `being rebuilt${far?.percent === undefined ? "" : ` ${far.percent} %`}` };
      parts[records[site].definitive] = { word: "gives the data", donor: records[site].donor };
    }
  }
  return parts;
}

function showHeadlines(told) {
  redraw(byId("headlines"), told.map(([kind, where, text]) => html("li", { class: kind },
    html("a", { href: `#${where}`, "data-key": text }, marked(kind, text)))));
  document.title = `${told[0][2]} - Tungsten sites`;
}

function memory(all, runs) {
  const newest = (list) => list.slice(-ON_RECORD).reverse();
  return [
    html("details", { "data-key": "plans", open: true }, html("summary", {}, `Plans (${all.length})`),
      html("ul", {}, newest(all).map((each) => html("li", {}, decidedOn(each))))),
    html("details", { "data-key": "runs" }, html("summary", {}, `Runs (${runs.length})`),
      html("ul", {}, newest(runs).map((each) => html("li", {}, `${each.site}, ${each.run}: ${each.state}, begun ${
        when(each.started)} by ${each.who}`)))),
    all.length || runs.length ? null : html("p", { class: "soft" }, "No plan and no run is on record."),
  ];
}

// Says what is not of now. A picture that has stopped moving must not look like one where nothing happens.
function fresh() {
  if (!session) {
    return;
  }
  const all = Object.values(looks);
  const faults = [...new Set(all.filter((look) => look.error).map((look) => look.error.message))];
  const { at } = looks.sites;
  const old = all.some((look) => look.old());
  const why = [broken ? `The master's events are not heard (${broken}).` : null, ...faults].filter(Boolean).join(" ");
  const shown = at ? `What is shown may be old; the nodes were last asked at ${clock(at)}.`
    : "Not all could be looked at.";
  say(byId("old"), old || broken ? `${shown} ${why} It is tried again.` : "");
  byId("columns").classList.toggle("old", old);
  say(byId("fresh"), old || broken ? "✕ not live" : at ? `✓ live, nodes asked at ${clock(at)}` : "looking…");
}

// --- deciding

const decide = decider({
  act: (fun, kwarg) => call(session.token, fun, kwarg),
  done: (text) => {
    say(byId("notice"), text);
    ["plans", "runs"].forEach((name) => looks.plans && looks[name].ask());
  },
});

// --- the beginning

byId("login").addEventListener("submit", onLogin);
byId("again").addEventListener("click", lookNow);
byId("logout").addEventListener("click", () => { logOut(session.token); end(""); });
document.addEventListener("visibilitychange", () => {
  if (looks && !document.hidden) {
    lookNow();
  }
});
new ResizeObserver(showPicture).observe(byId("picture"));
setInterval(fresh, 5000);
if (window.top !== window.self) {
  // Another page that shows this one in a frame could have its clicks.
  for (const field of byId("login").elements) {
    field.disabled = true;
  }
  byId("login").hidden = false;
  say(byId("login").querySelector("[role=alert]"), "This page does not work inside another one.");
} else if (sessionStorage.getItem(KEPT)) {
  begin(JSON.parse(sessionStorage.getItem(KEPT)));
} else {
  end("");
}
