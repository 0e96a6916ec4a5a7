"use strict";
// The overview's filters: benchmarks that are chosen make the mean and the rank; a chosen language puts its scores into the cells.
{
  const { el, own } = m3eval;
  const form = document.getElementById("filters");
  const table = document.getElementById("overview");
  const rows = [...table.tBodies[0].rows];
  const scores = m3eval.data.overview.rows;
  const boxes = [...form.querySelectorAll("[type=checkbox]")];
  const cellsOf = (row) => [...row.querySelectorAll("td[data-benchmark]")];
  const copies = (nodes) => [...nodes].map((node) => node.cloneNode(true));
  const averages = rows.map((row) => cellsOf(row).map((cell) => ({ nodes: copies(cell.childNodes), value: cell.dataset.value, group: cell.dataset.group })));

  function put(cell, value, nodes) {
    if (value === undefined) delete cell.dataset.value;
    else cell.dataset.value = value;
    cell.classList.toggle("none", value === undefined);
    cell.replaceChildren(...nodes);
  }

  // A language's scores, or the averages, in the cells; the best of each column is bold.
  function fill(language) {
    const bests = {};
    rows.forEach((row, i) => cellsOf(row).forEach((cell, j) => {
      const slug = cell.dataset.benchmark;
      const average = averages[i][j];
      cell.dataset.group = language ? 0 : average.group ?? 0;
      if (!language) return put(cell, average.value, copies(average.nodes));
      const value = own(scores[i][slug], language);
      put(cell, value, value === undefined ? ["–"] : [el("a", { href: `benchmark/${slug}.html` }, Number(value).toFixed(1))]);
      if (value !== undefined && !(bests[slug]?.value >= value)) bests[slug] = { value, cell };
    }));
    for (const { cell } of Object.values(bests)) cell.firstChild.className = "best";
  }

  function show() {
    const { retriever, language, system } = Object.fromEntries(new FormData(form));
    const chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    fill(language);
    for (const row of rows) {
      const has = cellsOf(row).some((cell) => chosen.has(cell.dataset.benchmark) && cell.dataset.value !== undefined);
      row.hidden = !has || (retriever && row.dataset.retriever !== retriever) || !row.dataset.system.toLowerCase().includes(system.toLowerCase());
    }
    const shown = rows.filter((row) => !row.hidden);
    // A column that has nothing for the rows that are left leaves with the others.
    const filled = new Set(shown.flatMap((row) => cellsOf(row).filter((cell) => cell.dataset.value !== undefined).map((cell) => cell.dataset.benchmark)));
    const columns = new Set([...chosen].filter((slug) => filled.has(slug)));
    for (const cell of table.querySelectorAll("[data-benchmark]")) cell.hidden = !columns.has(cell.dataset.benchmark);
    const means = new Map(shown.map((row) => {
      const values = cellsOf(row).filter((cell) => columns.has(cell.dataset.benchmark) && cell.dataset.value !== undefined && cell.dataset.group === "0").map((cell) => Number(cell.dataset.value));
      return [row, columns.size && values.length === columns.size ? values.reduce((sum, value) => sum + value, 0) / values.length : undefined];
    }));
    for (const [row, mean] of means) {
      const better = [...means.values()].filter((other) => other > mean).length;
      put(row.querySelector(".rank"), mean === undefined ? undefined : better + 1, [mean === undefined ? "–" : String(better + 1)]);
      put(row.querySelector(".mean"), mean, [mean === undefined ? "–" : mean.toFixed(1)]);
    }
    m3eval.sortAgain(table, 0);
    document.getElementById("shown").textContent = `${shown.length} of ${rows.length} systems; mean over ${columns.size} of ${boxes.length} benchmarks${language ? ` in ${language}` : ""}`;
    m3eval.fit();
  }

  for (const [id, checked] of [["every-benchmark", true], ["no-benchmark", false]]) {
    document.getElementById(id).addEventListener("click", () => {
      for (const box of boxes) box.checked = checked;
      form.dispatchEvent(new Event("input"));
    });
  }
  m3eval.filter(form, show);
}
