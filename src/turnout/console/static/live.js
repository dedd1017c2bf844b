// Follows a thread while it goes on: asks how far it has come, and takes the page in anew when it has moved.
import { swap, writing } from "/static/swap.js";

const QUICK = 700, SLOW = 5000;
let wait = QUICK, timer = 0;

async function look() {
  const page = document.querySelector("#page[data-live]");
  if (!page) return; // it has ended
  try {
    if (!document.hidden && !writing()) {
      const answer = await fetch(page.dataset.live, { credentials: "same-origin" });
      if (answer.status === 401 || answer.redirected) { location.reload(); return; }
      const now = answer.ok ? await answer.json() : null;
      if (now && (String(now.head) !== page.dataset.head || now.status !== page.dataset.status)) {
        await swap(location.pathname + location.search);
        wait = QUICK;
      } else {
        wait = Math.min(SLOW, wait * 1.3);
      }
    }
  } catch {
    wait = SLOW; // the server may be starting again
  }
  timer = setTimeout(look, wait);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) { clearTimeout(timer); wait = QUICK; look(); }
});
timer = setTimeout(look, QUICK);
