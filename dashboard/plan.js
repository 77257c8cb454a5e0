// A plan that waits for a decision: everything that a person needs for it.

import { html } from "./dom.js";
import { rowsOf } from "./sites.js";
import { count, duration, known, size, when } from "./words.js";

export function plan(found, decide) {
  const { binding, lost, expected } = found;
  const { order, nodes, primaries } = binding;
  return html("section", { class: "card plan", "data-plan": found.plan, "aria-label": `Plan for ${found.site}` },
    html("h2", {}, html("span", { class: "sign" }, "⚑"), ` A plan for ${found.site} waits for a decision`),
    html("dl", {},
      pair("Rebuild", html("strong", {}, order.failed),
        `: ${Object.keys(nodes[order.failed]).join(", ")}; primary ${primaries[order.failed]}`),
      pair("From", html("strong", {}, order.definitive),
        `, by a copy of ${order.donor}; primary ${primaries[order.definitive]}`),
      pair("How", `${order.method}, its replicas by ${order.replica_method}`),
      found.resumes ? pair("Goes on with", `run ${found.resumes}`) : pair("A new run", found.why_not_resumed),
      pair("Made", `${when(found.made)} by ${found.by}`),
      found.why ? pair("Why", found.why) : null,
      pair("Open until", when(found.expires)),
      pair("Takes", `about ${duration(expected.total.seconds)} (${expected.total.basis})`),
      pair("Donor", `${order.donor} is out of service for about ${duration(expected.donor_outage.seconds)}`)),
    lostOf(found),
    found.warnings.length ? html("div", { class: "banner warn" }, html("strong", {}, "Warnings"),
      html("ul", {}, found.warnings.map((text) => html("li", {}, text)))) : null,
    second(found),
    html("p", { class: "buttons" },
      [["approve", "Approve…", "main"], ["deny", "Deny…", null]].map(([what, word, kind]) => html("button", {
        type: "button", class: kind, "data-key": `${what} ${found.plan}`, click: () => decide(what, found) }, word))),
    html("details", { "data-key": `plan steps ${found.plan}` },
      html("summary", {}, `All ${found.steps.length} steps`),
      html("ol", { class: "steps" }, found.steps.map((step) => html("li", {},
        html("strong", {}, step.step), step.needed ? null : " - has been done",
        html("ul", {}, step.what.map((text) => html("li", {}, text))))))),
    html("details", { "data-key": `plan times ${found.plan}` },
      html("summary", {}, "Times and sizes"), times(found), sizes(found.sizes)),
    html("p", { class: "soft" }, `Plan ${found.plan}. What it binds cannot change between approval and run.`));
}

const pair = (name, ...what) => [html("dt", {}, name), html("dd", {}, what)];

function second(found) {
  if (!found.second_person) {
    return null;
  }
  return html("p", { class: "banner warn" }, found.by === "event" ? "Only a person can approve it."
    : `Somebody else than ${found.by} has to approve it.`);
}

// In one line, for the last look before the click.
export function loss(found) {
  const tables = found.lost.rows ? Object.keys(found.lost.rows.tables).length : null;
  return [
    ...Object.entries(found.lost.unreplicated).map(([site, each]) => each.transactions === null
      ? `nobody knows how many transactions are not in ${site}`
      : `${count(each.transactions, "transaction", "transactions")} at the most are not in ${site}`),
    tables === null ? "nobody has counted the rows" : tables ? `rows of ${count(tables, "table", "tables")} differ`
      : found.lost.rows.verdict === "equal" ? "no rows differ" : "rows may differ",
  ].join("; ");
}

function lostOf(found) {
  const { unreplicated, rows, save } = found.lost;
  return html("div", { class: "lost" },
    html("h3", {}, `What only ${found.site} has is lost`),
    html("ul", {},
      Object.entries(unreplicated).map(([site, each]) => html("li", {},
        html("strong", {},
          each.transactions === null ? "unknown" : `at most ${each.transactions.toLocaleString("en")}`),
        ` transactions that are not in ${site}: ${each.what}`)),
      rows === null
        ? html("li", {}, html("strong", {}, "unknown"), " rows: there is no drift check that still counts")
        : html("li", {},
          `Rows, by drift check ${rows.check}, ended ${when(rows.finished)}: `, html("strong", {}, rows.verdict),
          rows.saved ? `, saved in ${rows.saved}` : rows.verdict === "equal" ? null : ", not saved",
          html("ul", {},
            Object.entries(rows.tables).map(([name, each]) => html("li", {}, `${name}: ${rowsOf(each)}`)),
            [["schema", ""], ["unproved", "may differ: "], ["skipped", "not looked at: "]].flatMap(([kind, begin]) => (
              Object.entries(rows[kind]).map(([name, text]) => html("li", {}, `${name}: ${begin}${text}`))))))),
    html("details", { "data-key": `save ${found.plan}` }, html("summary", {}, "Save it before"),
      html("ul", {}, save.map((each) => html("li", {}, `${each.what}: `, html("code", {}, each.command))))));
}

function times(found) {
  const { expected } = found;
  const { order } = found.binding;
  const rows = [
    [`copy of ${size(expected.copy.bytes)} from ${order.donor}`, expected.copy],
    ...Object.entries(expected.replicas).map(([host, each]) => [`${order.replica_method} to ${host}`, each]),
    ["all else", expected.other], ["in total", expected.total],
    [`${order.donor} out of service`, expected.donor_outage],
  ];
  return html("table", {}, html("tbody", {}, rows.map(([what, each]) => html("tr", {},
    html("th", { scope: "row" }, what),
    html("td", {}, duration(each.seconds)), html("td", { class: "soft" }, each.basis)))));
}

function sizes(all) {
  return html("table", {}, html("tbody", {}, Object.entries(all).map(([node, each]) => html("tr", {},
    html("th", { scope: "row" }, node),
    html("td", {}, `${size(each.used)} used`),
    html("td", {}, `${size(each.free)} free`)))));
}

export function decidedOn(found) {
  const { decided } = found;
  const how = decided ? `${decided.state} by ${known(decided.who)}, ${when(decided.at)}${
    decided.reason ? `: ${decided.reason}` : ""}` : `made by ${found.by}, ${when(found.made)}`;
  return `${found.plan}: ${found.state}; ${how}${found.run ? `; run ${found.run}` : ""}`;
}
