// The sites as a picture: each a box with its nodes, an arrow for each way that changes take. Beside every colour there
// is a sign and a word. Sites stand side by side where there is room, and below each other on a telephone.

import { svg } from "./dom.js";
import { arrowsBetween, feedOf, nodesOf, roleOf } from "./topology.js";
import { SIGNS, duration, judge, known } from "./words.js";

const PAD = 14;
const INDENT = 26;
const HEAD = 84;
const ROW = 20;
const BETWEEN = 14;
// Room for the words at the arrows between two sites, and for those between sites that are not neighbours.
const GAP = { across: 168, down: 78 };
const LANE = 30;
const NARROWEST = 244;
const WIDEST = 400;

// runs: {site: {word: what it does in a run, donor: host or null}} of what is at work now.
export function picture(status, runs, width) {
  const names = Object.keys(status);
  const boxes = names.map((name) => measured(name, status[name], runs[name] || {}));
  const across = names.length * NARROWEST + (names.length - 1) * GAP.across <= width;
  const arrows = arrowsBetween(status);
  const far = arrows.filter(({ from, to }) => Math.abs(names.indexOf(from) - names.indexOf(to)) > 1);
  const size = across ? sideBySide(boxes, width, far) : belowEachOther(boxes, width, far);
  const place = Object.fromEntries(boxes.map((box) => [box.name, box]));
  const shown = svg("svg", {
    width: size.width, height: size.height, viewBox: `0 0 ${size.width} ${size.height}`, role: "img",
    "aria-label": arrows.map(({ from, to, online, odd }) => `${from} to ${to}: ${online} ${odd}`).join("; "),
  }, heads());
  shown.append(
    ...boxes.map(drawn),
    ...arrows.filter((each) => !far.includes(each)).map((each) => (
      across ? besides(each, place) : below(each, place))),
    ...far.map((each, number) => (across ? under(each, place, size, number) : along(each, place, size, number))),
  );
  return shown;
}

// A text is cut where its place ends; what it says in full is in its title. To be called once the picture is shown.
export function fitTexts(shown) {
  for (const text of shown.querySelectorAll("text[data-fit]")) {
    const room = Number(text.dataset.fit);
    const whole = text.textContent;
    if (text.getComputedTextLength() <= room) {
      continue;
    }
    let length = whole.length;
    while (length > 1 && text.getComputedTextLength() > room) {
      length -= 1;
      text.textContent = `${whole.slice(0, length)}…`;
    }
    text.append(svg("title", {}, whole));
  }
}

// --- where everything is

function measured(name, view, run) {
  const nodes = nodesOf(view).map((node) => ({
    ...node, height: 74 + ROW * Object.keys(node.services).length }));
  const height = HEAD + nodes.reduce((sum, node) => sum + node.height + BETWEEN, 0) - BETWEEN + PAD;
  return { name, view, run, nodes, height };
}

function sideBySide(boxes, width, far) {
  const room = (width - (boxes.length - 1) * GAP.across) / boxes.length;
  const each = Math.min(WIDEST, Math.floor(room));
  // What the boxes do not need is the arrows'.
  const gap = boxes.length > 1 ? (width - each * boxes.length) / (boxes.length - 1) : 0;
  const height = Math.max(...boxes.map((box) => box.height));
  boxes.forEach((box, number) => Object.assign(box, { x: number * (each + gap), y: 1, width: each, height }));
  return { width, height: height + 2 + far.length * LANE, lanes: height + 2 };
}

function belowEachOther(boxes, width, far) {
  const each = width - far.length * LANE;
  let y = 1;
  for (const box of boxes) {
    Object.assign(box, { x: 0, y, width: each });
    y += box.height + GAP.down;
  }
  return { width, height: y - GAP.down + 1, lanes: each };
}

// --- a site and its nodes

function drawn(box) {
  const { view, run } = box;
  const routers = Object.values(view.routers);
  const up = routers.filter((state) => state === "ONLINE").length;
  const policy = view.policy === null ? "unknown" : view.policy === "AUTOMATIC" ? "good" : "bad";
  const group = svg("g", { class: `site ${view.wrong.length ? "bad" : "good"}`, "data-site": box.name },
    svg("rect", { class: "box", x: box.x + 0.5, y: box.y, width: box.width - 1, height: box.height, rx: 12 }),
    label(box.x + PAD, box.y + 27, box.name, "name", box.width - 2 * PAD - (run.word ? 140 : 0)),
    run.word ? pill(box.x + box.width - PAD, box.y + 27, run.word, "busy") : null,
    marked(box.x + PAD, box.y + 50, policy, `policy ${known(view.policy)}`, box.width - 2 * PAD),
    marked(box.x + PAD, box.y + 50 + ROW, !routers.length ? "unknown" : up === routers.length ? "good" : "bad",
      `routers ${up} of ${routers.length} ONLINE`, box.width - 2 * PAD));
  const trunk = box.x + PAD + 10;
  let y = box.y + HEAD;
  let from = null;
  for (const node of box.nodes) {
    const x = box.x + PAD + (node.replica ? INDENT : 0);
    if (node.replica && from !== null) {
      const middle = y + 20;
      group.append(svg("path", {
        class: `arrow ${feedOf(node)}`, d: `M${trunk} ${from}V${middle}H${x - 3}`,
        "marker-end": `url(#head-${feedOf(node)})` }));
    }
    group.append(card(node, run, x, y, box.x + box.width - PAD - x));
    if (!node.replica) {
      from = y + node.height;
    }
    y += node.height + BETWEEN;
  }
  return group;
}

function card(node, run, x, y, width) {
  const donor = run.donor === node.host;
  const group = svg("g", { class: `node ${node.replica ? "replica" : "primary"}`, "data-node": node.minion },
    svg("rect", { class: "card", x, y, width, height: node.height, rx: 8 }),
    label(x + 11, y + 21, node.host, "host", width - (donor ? 160 : 100)),
    pill(x + width - 9, y + 21, roleOf(node), node.replica ? "replica" : "primary"),
    donor ? pill(x + width - 75, y + 21, "donor", "busy") : null,
    marked(x + 11, y + 42, judge(node.datasource),
      `datasource ${known(node.datasource)}${node.reason ? ` (${node.reason})` : ""}`, width - 20));
  let row = y + 42;
  for (const [name, service] of Object.entries(node.services)) {
    row += ROW;
    const place = `${service.seqno === null ? "" : `#${service.seqno}`}${
      service.latency === null ? "" : `  ${duration(service.latency)}`}`;
    group.append(
      marked(x + 11, row, judge(service.state), `${name} ${known(service.state)}`, width - 28 - 7 * place.length),
      svg("text", { class: "soft", x: x + width - 10, y: row, "text-anchor": "end" }, place));
  }
  group.append(marked(x + 11, row + ROW, judge(node.dataserver), `MySQL ${known(node.dataserver)}`, width / 2 - 11));
  if (node.router !== null) {
    group.append(
      marked(x + width / 2, row + ROW, judge(node.router), `router ${node.router}`, width / 2 - 4));
  }
  return group;
}

function label(x, y, text, kind, room) {
  return svg("text", { class: kind, x, y, "data-fit": Math.max(20, Math.floor(room)) }, text);
}

function marked(x, y, kind, text, room) {
  return svg("g", { class: kind },
    svg("text", { class: "sign", x: x + 5, y, "text-anchor": "middle" }, SIGNS[kind]),
    label(x + 15, y, text, "said", room - 15));
}

// Its right end is at `right`: how long a word is is not known before it is drawn.
function pill(right, y, text, kind) {
  const width = 14 + 6.6 * text.length;
  return svg("g", { class: `pill ${kind}` },
    svg("rect", { x: right - width, y: y - 14, width, height: 19, rx: 9.5 }),
    svg("text", { x: right - width / 2, y, "text-anchor": "middle" }, text));
}

// --- the arrows between sites

function heads() {
  return svg("defs", {}, ["good", "bad", "moving", "unknown"].map((kind) => svg("marker", {
    id: `head-${kind}`, class: `head ${kind}`, viewBox: "0 0 10 10", refX: 9, refY: 5, orient: "auto",
    markerWidth: 11, markerHeight: 11, markerUnits: "userSpaceOnUse" }, svg("path", { d: "M0 0 10 5 0 10z" }))));
}

function line(arrow, path, ...texts) {
  return svg("g", { class: `way ${arrow.kind}`, "data-way": `${arrow.from}-${arrow.to}` },
    svg("path", { class: `arrow wide ${arrow.kind}`, d: path, "marker-end": `url(#head-${arrow.kind})` }), texts);
}

const title = (arrow) => `${arrow.from} → ${arrow.to}`;
const state = (arrow) => `${SIGNS[arrow.kind]} ${arrow.online}`;
const words = (arrow, ...lower) => [
  ["way-name", lower[0], title(arrow)], ["way-state", lower[1], state(arrow)], ["way-state", lower[2], arrow.odd]];

function besides(arrow, place) {
  const [from, to] = [place[arrow.from], place[arrow.to]];
  const right = from.x < to.x;
  const [start, end] = right ? [from.x + from.width + 6, to.x - 6] : [from.x - 6, to.x + to.width + 6];
  const y = from.y + HEAD + (right ? 32 : 112);
  const middle = (start + end) / 2;
  const room = Math.abs(end - start) - 8;
  return line(arrow, `M${start} ${y}H${end}`,
    words(arrow, -10, 20, 36).map(([kind, lower, text]) => (
      svg("text", { class: kind, x: middle, y: y + lower, "text-anchor": "middle", "data-fit": room }, text))));
}

function below(arrow, place) {
  const [from, to] = [place[arrow.from], place[arrow.to]];
  const down = from.y < to.y;
  const [start, end] = down ? [from.y + from.height + 5, to.y - 5] : [from.y - 5, to.y + to.height + 5];
  const x = down ? 22 : from.width / 2 + 12;
  const y = (start + end) / 2;
  const room = from.width / 2 - 34;
  return line(arrow, `M${x} ${start}V${end}`,
    words(arrow, -10, 7, 23).map(([kind, lower, text]) => (
      svg("text", { class: kind, x: x + 12, y: y + lower, "data-fit": room }, text))));
}

// Between sites that are no neighbours, in a lane of its own under all of them.
function under(arrow, place, size, number) {
  const [from, to] = [place[arrow.from], place[arrow.to]];
  const y = size.lanes + number * LANE + 16;
  const [start, end] = [from, to].map((box, which) => box.x + box.width / 2 + (number * 2 + which) * 9 - 20);
  return line(arrow, `M${start} ${from.y + from.height + 2}V${y}H${end}V${to.y + to.height + 4}`,
    svg("text", { class: "way-state halo", x: (start + end) / 2, y: y + 4, "text-anchor": "middle",
      "data-fit": Math.abs(end - start) - 20 }, `${title(arrow)}  ${state(arrow)} ${arrow.odd}`));
}

// The same beside sites that stand below each other.
function along(arrow, place, size, number) {
  const [from, to] = [place[arrow.from], place[arrow.to]];
  const x = size.lanes + number * LANE + 15;
  const [start, end] = [from, to].map((box, which) => box.y + box.height / 2 + (number * 2 + which) * 9 - 20);
  const middle = (start + end) / 2;
  return line(arrow, `M${from.x + from.width + 2} ${start}H${x}V${end}H${to.x + to.width + 4}`,
    svg("text", { class: "way-state halo", x, y: middle, "text-anchor": "middle",
      transform: `rotate(-90 ${x} ${middle})`, dy: 4, "data-fit": Math.abs(end - start) - 20 },
    `${title(arrow)}  ${state(arrow)} ${arrow.odd}`));
}
