// Choosing reviews of one kind to decide together: what is of another kind can't be chosen along.
const form = document.querySelector("#bulk");
const boxes = form ? [...form.querySelectorAll("input[name=review]")] : [];
const said = document.querySelector("#chosen");
const buttons = form ? [...form.querySelectorAll("button[data-word]")] : [];

function look() {
  const chosen = boxes.filter((box) => box.checked);
  const kind = chosen[0]?.dataset.kind;
  const words = chosen[0]?.dataset.words.split(" ") ?? [];
  for (const box of boxes) {
    box.disabled = Boolean(kind) && box.dataset.kind !== kind;
    box.closest("li").classList.toggle("off", box.disabled);
  }
  form.classList.toggle("choosing", chosen.length > 0);
  const like = boxes.filter((box) => box.dataset.kind === kind).length;
  for (const button of buttons) button.disabled = !chosen.length || !words.includes(button.dataset.word);
  if (said) {
    said.textContent = chosen.length
      ? `${chosen.length} of ${like} of this kind chosen. `
      : "Choose reviews of one kind to decide them together.";
    if (chosen.length && chosen.length < like) {
      const all = document.createElement("button");
      all.type = "button";
      all.className = "small";
      all.textContent = `Choose all ${like}`;
      all.addEventListener("click", () => {
        for (const box of boxes) if (box.dataset.kind === kind) box.checked = true;
        look();
      });
      said.append(all);
    }
  }
}

if (form) {
  form.addEventListener("change", look);
  form.addEventListener("submit", (event) => {
    if (event.submitter) setTimeout(() => { for (const button of buttons) button.disabled = true; });
  });
  addEventListener("pageshow", look);
  look();
}
