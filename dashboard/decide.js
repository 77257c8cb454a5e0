// The second click: what is decided, why, and for an approval the name of the site that will be rebuilt.

import { byId, html, redraw, say } from "./dom.js";
import { loss } from "./plan.js";
import { Refusal } from "./salt.js";

// act(function, arguments) asks salt-api; done(text) is told what has become of it.
export function decider({ act, done }) {
  const dialog = byId("decide");
  const form = dialog.querySelector("form");
  const { site, reason } = form.elements;
  const go = form.querySelector("[value=go]");
  const refused = form.querySelector("[role=alert]");
  let about = null;
  let busy = false;

  const ready = () => { go.disabled = busy || (about.what === "approve" && site.value.trim() !== about.plan.site); };

  async function submit(event) {
    event.preventDefault();
    if (busy) {
      return;
    }
    const sent = about;
    const { what, plan } = sent;
    busy = true;
    ready();
    say(refused, "");
    try {
      const answer = await act(`reprovision.${what}`, { plan: plan.plan, reason: reason.value });
      // Meanwhile somebody may have gone back, and asked about another one.
      if (about === sent) {
        dialog.close();
      }
      done(what === "approve" ? `Plan ${plan.plan} was approved, and job ${answer.jid} started for it.`
        : `Plan ${plan.plan} was denied.`);
    } catch (error) {
      // Whether it was heard is not known then: what is on record is.
      const words = error instanceof Refusal ? error.message
        : `No answer: ${error.message}. Look at what is on record before you try again.`;
      if (about === sent && dialog.open) {
        say(refused, words);
      } else {
        done(`Plan ${plan.plan}: ${words}`);
      }
    }
    busy = false;
    ready();
  }

  form.addEventListener("submit", submit);
  form.addEventListener("input", ready);
  form.querySelector("[value=back]").addEventListener("click", () => dialog.close());

  return (what, plan) => {
    about = { what, plan };
    form.reset();
    say(refused, "");
    byId("decide-title").textContent = what === "approve" ? `Approve and start: rebuild ${plan.site}`
      : `Deny the plan for ${plan.site}`;
    const { order, nodes } = plan.binding;
    redraw(byId("decide-about"), what === "approve"
      ? [html("p", {}, `The data of ${Object.keys(nodes[order.failed]).join(", ")} are deleted and `
          + `copied anew from ${order.donor} of ${order.definitive}. The run starts at once.`),
        html("p", { class: "banner warn" }, `What only ${order.failed} has is lost: ${loss(plan)}.`)]
      : html("p", {}, "Nobody can approve it any more. A new one can be made."));
    byId("decide-site").hidden = what !== "approve";
    site.required = what === "approve";
    go.textContent = what === "approve" ? "Approve and start now" : "Deny";
    ready();
    dialog.showModal();
  };
}
