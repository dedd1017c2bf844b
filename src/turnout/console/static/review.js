// A review's form: "Approve with changes" is for when something was changed, and a decision is sent once.
const form = document.querySelector("form.decision");

if (form) {
  const edit = form.querySelector("button[value=edit]"), approve = form.querySelector("button[value=approve]");
  const buttons = form.querySelectorAll("button[name]"); // not the first one, which stays as it is
  const fields = [...form.querySelectorAll(".edits input, .edits textarea, .edits select")];
  const was = fields.map((field) => (field.type === "checkbox" ? field.defaultChecked : field.defaultValue ?? field.value));
  const look = () => {
    const changed = fields.some((field, n) => (field.type === "checkbox" ? field.checked : field.value) !== was[n]);
    if (edit && approve) {
      edit.classList.toggle("primary", changed);
      approve.classList.toggle("primary", !changed);
    }
  };
  for (const field of fields.filter((one) => one.tagName === "SELECT")) was[fields.indexOf(field)] = field.value;
  form.addEventListener("input", look);
  form.addEventListener("submit", () => setTimeout(() => {
    for (const button of buttons) button.disabled = true;
  }));
  addEventListener("pageshow", () => { for (const button of buttons) button.disabled = false; });
}
