// What went wrong gets the focus: the first field that is refused, else the words. A screen reader reads what is focused.
const trouble = document.querySelector("#main [aria-invalid=true]") ?? document.querySelector("#main [role=alert]");

if (trouble) {
  if (trouble.tabIndex < 0) trouble.tabIndex = -1; // words can't have it otherwise
  trouble.focus();
  // Going to the place that the address names, a browser takes the focus away again.
  addEventListener("load", () => requestAnimationFrame(() => {
    if (document.activeElement === document.body) trouble.focus();
  }));
}
