// Pages: chart.html. Loads the cards and reports beside the chart, opens the app in its panel.
"use strict";

const workspace = document.querySelector("[data-patient]");
const panel = document.querySelector(".app");
const frame = document.querySelector("[data-app-frame]");

// A chart is opened once: other tabs of it show the advice that its opening brought.
const isOpening = !new URLSearchParams(window.location.search).has("tab");
const kept = (place) => (place.dataset.once ? sessionStorage.getItem(place.dataset.fragment) : null);

function keep(place) {
  if (place.dataset.once) sessionStorage.setItem(place.dataset.fragment, place.innerHTML);
}

async function fill(place) {
  const earlier = isOpening ? null : kept(place);
  try {
    place.innerHTML = earlier ?? (await fetchText(place.dataset.fragment));
    keep(place);
  } catch {
    place.innerHTML = '<p class="quiet">This part could not be loaded. The chart is complete without it.</p>';
  }
  place.dataset.loaded = "yes";
}

async function fetchText(url) {
  const response = await fetch(url, { credentials: "same-origin" });
  if (!response.ok) throw new Error(String(response.status));
  return response.text();
}

async function launch(button) {
  const response = await fetch(`/ehr/patients/${workspace.dataset.patient}/launch`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      url: button.dataset.url,
      appContext: button.dataset.context,
      study: button.dataset.study,
    }),
  });
  if (!response.ok) return;
  frame.src = (await response.json()).url;
  panel.hidden = false;
  document.body.classList.add("with-app");
}

function closeApp() {
  frame.removeAttribute("src");
  panel.hidden = true;
  document.body.classList.remove("with-app");
}

function dismiss(button) {
  const card = button.closest(".card");
  card.classList.add("dismissed");
  card.querySelector(".actions").textContent = `Dismissed: ${button.textContent}`;
  keep(card.closest("[data-fragment]"));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("launch" in button.dataset) launch(button);
  else if ("closeApp" in button.dataset) closeApp();
  else if ("dismiss" in button.dataset) dismiss(button);
});

document.querySelectorAll("[data-fragment]").forEach(fill);
