// Selects entries without loading the whole page again, and with the keys j and k (or the arrows beside the heading).
import { swap, writing } from "/static/swap.js";

async function select(link) {
  const address = new URL(link.href);
  if (!(await swap(address.pathname + address.search))) { location.assign(link.href); return; }
  history.pushState({ entry: link.dataset.entry }, "", address.pathname + address.search);
  if (matchMedia("(max-width: 1060px)").matches) document.querySelector("#entry").scrollIntoView();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-entry]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  select(link);
});

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || writing() || event.target.matches("input, textarea, select")) return;
  const rel = { j: "next", k: "prev" }[event.key];
  const link = rel && document.querySelector(`.entry-head a[rel="${rel}"]`);
  if (link) { event.preventDefault(); select(link); }
});

addEventListener("popstate", () => { swap(location.pathname + location.search).then((done) => done || location.reload()); });

// The drawing begins where the thread is, when it doesn't fit.
for (const drawing of document.querySelectorAll(".drawing")) {
  const box = drawing.querySelector(".box.open, .box.failed") || [...drawing.querySelectorAll(".box.taken")].pop();
  if (box && drawing.scrollWidth > drawing.clientWidth) {
    const at = box.getBoundingClientRect(), frame = drawing.getBoundingClientRect();
    drawing.scrollLeft = at.left + at.width / 2 - frame.left - frame.width / 2;
  }
}
