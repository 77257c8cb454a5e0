// What has to be known first, most urgent first: each [kind, id of the section that tells more, text].

import { drifted, isRecent, wrongOf } from "./sites.js";

// A run of these is at work, or is to be gone on with.
export const UNFINISHED = ["running", "failed", "aborted", "interrupted"];
const KINDS = { done: "good", running: "moving", failed: "bad", aborted: "bad", interrupted: "bad" };

export const kindOf = (state) => KINDS[state] || "unknown";

// status: null if the nodes have not answered yet. found: the newest drift check, or null.
export function headlines({ status, summaries, records, open, all, found }) {
  const told = [
    ...Object.entries(summaries).filter(([, run]) => UNFINISHED.includes(run.state)).map(([site, run]) => [
      kindOf(run.state), "runs", ofRun(site, run)]),
    ...open.map((plan) => ["ask", "plans", `A plan for ${plan.site} waits for a decision`]),
    ...all.filter((plan) => plan.state === "approved").map((plan) => [
      "moving", "memory", `Plan ${plan.plan} is approved, and its run has not begun`]),
  ];
  if (status === null) {
    return [...told, ["unknown", "sites", "The nodes are being asked…"]];
  }
  const wrong = wrongOf(status).length;
  const sites = drifted(status, found, records);
  told.push(...sites.map((site) => ["bad", "drift", `${site} has drifted`]));
  // Single nodes that differ, or tables that nobody could compare.
  if (!sites.length && found && found.verdict === "drifted" && isRecent(found, records)) {
    told.push(["bad", "drift", "The newest drift check found differences"]);
  }
  if (wrong) {
    told.push(["bad", "wrong", wrong === 1 ? "1 thing is wrong" : `${wrong} things are wrong`]);
  }
  return told.length ? told : [["good", "sites", "All sites stand well"]];
}

function ofRun(site, { state, steps, step }) {
  const begin = state === "running" ? `${site} is being re-provisioned` : `The run of ${site} is ${state}`;
  return `${begin}: ${steps} steps done${step ? `, at ${step}` : ""}`;
}
