// What the picture is made of, read from what reprovision.status returned: who replicates to whom, and how that stands.

import { judge, known } from "./words.js";

const WORST = ["good", "moving", "unknown", "bad"];
const ROLES = { master: "primary", slave: "replica" };

export const roleOf = (node) => (node.role ? ROLES[node.role] || node.role : "role ?");

// A site's own service is what its nodes have in their cluster replicator.
function ownService(view) {
  for (const node of Object.values(view.nodes)) {
    for (const [name, service] of Object.entries(node.services)) {
      if (service.home === "cluster") {
        return name;
      }
    }
  }
  return null;
}

// The primary first: the others are drawn below it, fed by it.
export function nodesOf(view) {
  const nodes = Object.entries(view.nodes).map(([host, node]) => ({
    host, ...node, router: routerOf(view, host), replica: view.primary !== null && host !== view.primary,
  }));
  return [...nodes.filter((node) => !node.replica), ...nodes.filter((node) => node.replica)];
}

function routerOf(view, host) {
  const found = Object.entries(view.routers).find(([name]) => name.slice(name.indexOf("@") + 1) === host);
  return found ? found[1] : null;
}

// What each site gets from each other one: [{from, to, kind, online: words, odd: the worst of the other states}].
export function arrowsBetween(status) {
  const sites = Object.keys(status);
  return sites.flatMap((from) => sites.filter((to) => to !== from).map((to) => {
    const service = ownService(status[from]);
    const states = Object.values(status[to].nodes).map((node) => {
      const found = service && node.services[service];
      return found && found.home === "cross_site" ? found.state : null;
    });
    const kind = worst(states.map(judge));
    const online = states.filter((state) => state === "ONLINE").length;
    const odd = kind === "good" ? "" : known(states.find((state) => judge(state) === kind));
    return { from, to, kind, online: `${online} of ${states.length} ONLINE`, odd };
  }));
}

// How a replica is fed by its primary.
export function feedOf(node) {
  const own = Object.values(node.services).find((service) => service.home === "cluster");
  return judge(own ? own.state : null);
}

export function worst(kinds) {
  return kinds.reduce((one, other) => (WORST.indexOf(other) > WORST.indexOf(one) ? other : one), kinds[0] || "unknown");
}

// Seconds that the data of a site's nodes are behind, at the most, of those that tell it.
export function behind(view) {
  const told = Object.values(view.nodes).flatMap((node) => Object.values(node.services))
    .map((service) => service.latency).filter((latency) => latency !== null && latency !== undefined);
  return told.length ? Math.max(...told) : null;
}
