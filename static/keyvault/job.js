// The page of a re-wrap job stays fresh: the figures are asked for every two seconds while the page is looked at, and
// the page is loaded anew when the job is in another state. Without a script the page reloads itself.
const panel = document.querySelector("[data-job]");
const figures = new Map([...document.querySelectorAll("[data-figure]")].map((place) => [place.dataset.figure, place]));
const bar = panel?.querySelector("progress");
const told = panel?.querySelector("[data-told]");
let tenth = bar ? Math.floor((bar.value / bar.max) * 10) : 0;

const show = (seen) => {
  for (const [name, text] of Object.entries(seen.figures)) {
    const place = figures.get(name);
    if (place && place.textContent !== text) place.textContent = text;
  }
  if (seen.of) {
    bar.max = seen.of;
    bar.value = seen.done;
  }
  // Whoever listens hears of every tenth of the way, not of every batch.
  const reached = Math.floor(seen.percent / 10);
  if (reached !== tenth) told.textContent = seen.figures.summary;
  tenth = reached;
};

const look = async () => {
  const answer = document.hidden
    ? null
    : await fetch(panel.dataset.job, { headers: { Accept: "application/json" } }).catch(() => null);
  const seen = answer?.ok ? await answer.json().catch(() => null) : null;
  // Nobody's words are lost: while something is typed the page is not loaded anew.
  const typing = [...document.querySelectorAll("main textarea")].some((area) => area.value);
  if (answer && (!seen || seen.state !== panel.dataset.state) && !typing) return location.reload();
  if (seen) show(seen);
  setTimeout(look, 2000);
};
if (panel) setTimeout(look, 2000);
