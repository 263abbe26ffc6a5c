// The phone: asks every half second what is waiting, and sends what a person taps.
"use strict";

const element = (id) => document.getElementById(id);

async function post(path, body) {
  await fetch(`_control/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  await refresh();
}

function showPrompt(article, one) {
  const verb = one.kind === "payment" ? "Pay" : "Receive";
  article.querySelector(".what").textContent = `${verb} ${one.amount} ${one.currency}?`;
  article.querySelector(".who").textContent = [one.message, one.party].filter(Boolean).join(" · ");
  article.querySelector(".left").textContent = one.seconds_left === null
    ? "Waits for you."
    : `Ends by itself in ${Math.ceil(one.seconds_left)} s.`;
}

function newPrompt(one) {
  const article = element("prompt").content.firstElementChild.cloneNode(true);
  article.dataset.reference = one.reference;
  for (const decision of ["approve", "decline"]) {
    article.querySelector(`.${decision}`).addEventListener("click", () => {
      article.querySelectorAll("button").forEach((button) => { button.disabled = true; });
      post("decide", { reference: one.reference, decision });
    });
  }
  return article;
}

// Prompts that stay keep their element, so that a tap between two refreshes is never lost.
function showWaiting(waiting) {
  const kept = new Map([...element("waiting").children].map((child) => [child.dataset.reference, child]));
  const shown = waiting.map((one) => {
    const article = kept.get(one.reference) ?? newPrompt(one);
    kept.delete(one.reference);
    showPrompt(article, one);
    return [one, article];
  });
  kept.forEach((article) => article.remove());
  shown.filter(([, article]) => !article.isConnected)
    .reverse().forEach(([, article]) => element("waiting").prepend(article));
  element("idle").hidden = waiting.length > 0;
}

function showRecent(recent) {
  element("recent").replaceChildren(...recent.map((one) => {
    const line = document.createElement("li");
    line.className = one.status;
    const what = document.createElement("span");
    what.textContent = `${one.amount} ${one.currency}${one.kind === "payment" ? "" : " · " + one.kind}`;
    const end = document.createElement("span");
    end.textContent = one.reason ? (one.reason.code ?? one.reason) : one.status.toLowerCase();
    line.append(what, end);
    return line;
  }));
}

async function refresh() {
  try {
    const phone = await (await fetch("_control/phone")).json();
    document.title = `${phone.name} phone`;
    document.documentElement.style.setProperty("--brand", phone.color);
    element("name").textContent = phone.name;
    element("manual").checked = phone.mode === "manual";
    showWaiting(phone.waiting);
    showRecent(phone.recent);
    element("offline").hidden = true;
  } catch {
    element("offline").hidden = false;
  }
}

element("manual").addEventListener("change", (event) => {
  post("settings", { mode: event.target.checked ? "manual" : "auto" });
});
refresh();
setInterval(refresh, 500);
