// Four conveniences; every page works without them.

// "/" goes to the search, unless the person is typing somewhere.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const search = document.querySelector("[data-search]");
  if (!search) return;
  event.preventDefault();
  search.focus();
  search.select();
});

// An open menu closes on Escape and on a click beside it.
const closeMenus = (except) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
};
document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = document.querySelector("details.menu[open]");
  closeMenus(null);
  open?.querySelector("summary").focus();
});

// What is imported is what the page shows: an answer that was changed must be read before.
document.addEventListener("change", (event) => {
  if (!event.target.form?.matches("[data-reading]")) return;
  for (const button of document.querySelectorAll("[data-after-reading]")) button.disabled = true;
  for (const note of document.querySelectorAll("[data-unread]")) note.hidden = false;
});

// A page that waits for a worker says how far it is, and is loaded anew when it is done. Without a script the page
// reloads itself.
const waiting = document.querySelector("[data-waiting]");
const look = async () => {
  const answer = await fetch(waiting.dataset.waiting, { headers: { Accept: "application/json" } }).catch(() => null);
  const told = answer?.ok ? await answer.json().catch(() => null) : null;
  if (answer && (!told || !told.is_waiting)) return location.reload();
  if (told) {
    const bar = waiting.querySelector("progress");
    if (told.of) {
      bar.max = told.of;
      bar.value = told.done;
    } else {
      bar.removeAttribute("value");
    }
    waiting.querySelector("[data-step]").textContent = told.step;
    waiting.querySelector("[data-rows]").textContent = told.of
      ? `${told.done.toLocaleString("en")} of ${told.of.toLocaleString("en")} rows`
      : "";
  }
  setTimeout(look, 1000);
};
if (waiting) setTimeout(look, 500);
