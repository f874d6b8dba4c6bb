// The box above the table of the kernel's names: shows the rows that have all words that were typed.
const box = document.getElementById("filter");
if (box) {
  const rows = [...document.querySelectorAll("table.seed-map tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const show = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    rows.forEach((row, at) => (row.hidden = !words.every((word) => texts[at].includes(word))));
    const count = rows.filter((row) => !row.hidden).length;
    document.getElementById("filter-count").textContent = `${count} of ${rows.length} names`;
  };
  box.value = new URLSearchParams(location.search).get("filter") ?? "";
  box.addEventListener("input", show);
  show();
}
