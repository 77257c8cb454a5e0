// What is said of the sites in words: what is wrong, every node in a table, the newest drift check.

import { html } from "./dom.js";
import { behind, nodesOf, roleOf } from "./topology.js";
import { SIGNS, count, duration, judge, known, when } from "./words.js";

export const marked = (kind, text) => html("span", { class: `state ${kind}` },
  html("span", { class: "sign" }, SIGNS[kind]), ` ${text}`);

const stated = (state) => marked(judge(state), known(state));

export const wrongOf = (status) => Object.values(status).flatMap((view) => view.wrong);

export function wrong(texts, running) {
  return [
    html("h2", {}, html("span", { class: "sign" }, "✕"), ` ${count(texts.length, "thing is", "things are")} wrong`),
    html("ul", {}, texts.map((text) => html("li", {}, text))),
    running.length ? html("p", { class: "soft" },
      `Most of it is as it has to be while ${running.join(" and ")} is re-provisioned.`) : null,
  ];
}

export function table(status) {
  const heads = ["Site", "Node", "Role", "Datasource", "MySQL", "Manager", "Services"];
  return html("table", {},
    html("thead", {}, html("tr", {}, heads.map((text) => html("th", { scope: "col" }, text)))),
    html("tbody", {}, Object.entries(status).flatMap(([site, view]) => nodesOf(view).map((node) => html("tr", {},
      html("td", {}, site),
      html("th", { scope: "row" }, node.host),
      html("td", {}, roleOf(node)),
      html("td", {}, stated(node.datasource), node.reason ? ` (${node.reason})` : null),
      html("td", {}, stated(node.dataserver)),
      html("td", {}, stated(node.manager)),
      html("td", {}, Object.entries(node.services).map(([name, service]) => html("div", {},
        `${name} `, stated(service.state),
        ` at ${known(service.seqno)}, ${service.latency === null ? "?" : duration(service.latency)} behind`))))))));
}

// --- drift

export function drift(status, found, why, reports, records) {
  const sites = Object.keys(status);
  return [
    html("dl", { class: "drift" }, sites.flatMap((site) => [
      html("dt", {}, site),
      html("dd", {},
        found && found.verdict ? judged(site, status[site], found, records[site]) : null,
        html("div", { class: "soft" }, lateness(status[site])),
        reports[site] ? html("div", { class: "soft" }, reported(reports[site])) : null),
    ])),
    found ? html("p", { class: "soft" }, about(found)) : html("p", { class: "soft" }, why || "Not looked at yet."),
  ];
}

// A check from before a run has seen data that have been replaced since, or are being replaced.
const outdated = (found, record) => record !== undefined && record.started > found.started;

// No site has been rebuilt since.
export const isRecent = (found, records) => !Object.values(records).some((record) => outdated(found, record));

const madeElse = (site, found) => Object.entries(found.schema).filter(([, about]) => about.sites.includes(site));

// Tables that single nodes have made otherwise: their rows were not compared, so nothing is known of them.
const notCompared = (found) => Object.entries(found.schema).filter(([, about]) => !about.sites.length);

// The sites of which the newest check has proved that they have drifted.
export function drifted(status, found, records) {
  return found && found.verdict ? Object.keys(status).filter((site) => !outdated(found, records[site])
    && (found.sites[site] || madeElse(site, found).length)) : [];
}

function judged(site, view, found, record) {
  if (outdated(found, record)) {
    return marked("unknown", "not checked since its newest run began");
  }
  const tables = found.sites[site]?.tables || {};
  const made = madeElse(site, found);
  const nodes = Object.values(view.nodes).map((node) => node.minion).filter((minion) => found.nodes[minion]);
  if (Object.keys(tables).length || made.length) {
    return [
      marked("bad", "drifted"),
      html("ul", {}, Object.entries(tables).map(([name, rows]) => html("li", {}, `${name}: ${rowsOf(rows)}`)),
        made.map(([name, about]) => html("li", {}, `${name}: ${about.reason}`))),
    ];
  }
  if (nodes.length) {
    return marked("bad", `drifted from its own site: ${nodes.join(", ")}`);
  }
  if (site === found.reference) {
    return marked("good", "taken to be right by that check");
  }
  if (Object.keys(found.unproved).length) {
    return marked("unknown", `not proved: ${Object.keys(found.unproved).join(", ")}`);
  }
  if (notCompared(found).length) {
    return marked("unknown", `not compared: ${notCompared(found).map(([name, { reason }]) => `${name}: ${reason}`).join("; ")}`);
  }
  return marked("good", `equal to ${found.reference}`);
}

export function rowsOf(rows) {
  const parts = [[rows.changed, "changed"], [rows.extra, "only here"], [rows.missing, "missing here"]];
  const told = parts.filter(([number]) => number).map(([number, word]) => `${number.toLocaleString("en")} ${word}`);
  return `${told.join(", ") || "no rows"}${rows.complete ? "" : ", at least"}`;
}

function lateness(view) {
  const seconds = behind(view);
  return seconds === null ? "How late it is no node tells." : `At most ${duration(seconds)} late.`;
}

const reported = (note) => `Reported ${when(note.reported)}: ${known(note.decision)}`;

function about(found) {
  if (!found.verdict) {
    return `Check ${found.check}, begun ${when(found.started)}, has not ended: ${found.progress}`;
  }
  const missed = Object.entries(found.not_looked_at).map(([node, text]) => `; not looked at: ${node}: ${text}`);
  return `Check ${found.check}, ended ${when(found.finished)}: ${count(found.rows, "row", "rows")} of ${
    count(found.tables, "table", "tables")} on ${found.looked_at.join(", ")}${missed.join("")}`;
}
