// A run and its steps, as its record has them.

import { html } from "./dom.js";
import { kindOf } from "./headlines.js";
import { marked } from "./sites.js";
import { duration, known, size, when } from "./words.js";

const WORDS = { done: "done and verified", running: "running" };

export function run(site, summary, record) {
  const steps = record.plan.map((name) => ({ name, ...(record.steps[name] || { state: null }) }));
  const done = steps.filter((step) => step.state === "done").length;
  return html("section", {
    class: `card run is-${kindOf(summary.state)}`, "data-run": record.run, "aria-label": `Run of ${site}` },
    html("h2", {}, `${site}: `, marked(kindOf(summary.state), WORDS[summary.state] || summary.state)),
    html("p", {}, `${record.definitive} → ${site}, by a copy of ${record.donor} over ${record.primary}`),
    html("progress", { max: steps.length, value: done, "aria-label": "steps done" }),
    html("p", { class: "soft" },
      `${done} of ${steps.length} steps, run ${record.run}, begun ${when(record.started)} by ${
        known(record.attempts.at(-1)?.who)}${record.attempts.length > 1 ? `, attempt ${record.attempts.length}` : ""}`),
    record.donor_state === "taken"
      ? html("p", {}, marked("moving", `${record.donor}, the donor, is out of service`)) : null,
    summary.state === "done" || summary.state === "running" ? null
      : html("p", {}, "To go on, when its cause is gone: ", html("code", {}, command(summary.next))),
    html("details", { "data-key": `steps ${record.run}`, open: summary.state !== "done" },
      html("summary", {}, "Steps"),
      html("ol", { class: "steps" }, steps.map((step) => stepOf(step, summary, record)))),
    summary.state === "done" && record.verified ? html("p", {}, marked("good", verified(record.verified))) : null);
}

// The words before it are said here already.
const command = (next) => next.slice(Math.max(0, next.indexOf("salt-run ")));

const verified = (found) => `${found.rows.toLocaleString("en")} rows of ${found.tables.toLocaleString("en")} tables ${
  found.equal ? "are equal" : "differ"} on all nodes; heartbeats have arrived everywhere`;

function stepOf(step, summary, record) {
  // The record says running for as long as nobody has written anything else.
  const state = step.state === "running" && summary.state !== "running" ? summary.state : step.state;
  const kind = state === null ? "waiting" : kindOf(state);
  const bare = [
    html("span", { class: "sign" }, { waiting: "·", good: "✓", moving: "…", bad: "✕" }[kind] || "?"), " ",
    html("span", { class: "what" }, step.name), " ",
    html("span", { class: "soft" }, state === null ? "waits" : state === "done" ? duration(step.seconds) : state),
  ];
  return html("li", { class: kind },
    step.comment ? html("details", { "data-key": `step ${record.run} ${step.name}`, open: kind === "bad" },
      html("summary", {}, bare), html("pre", {}, step.comment)) : html("div", { class: "bare" }, bare),
    Object.entries(step.progress || {}).map(([node, far]) => html("div", { class: "far" },
      html("progress", { max: 100, value: far.percent ?? 0, "aria-label": `${node}: percent copied` }),
      ` ${node}: ${known(far.percent)} %, ${size(far.bytes)}, ${known(far.rate)}`)));
}
