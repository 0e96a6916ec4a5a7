"use strict";
// The overview's filters; a chosen language puts its scores into the cells.
{
  const form = document.getElementById("filters");
  const table = document.getElementById("overview");
  const rows = [...table.tBodies[0].rows];
  const scores = m3eval.data.overview.rows;
  const averages = rows.map((row) => [...row.cells].map((cell) => [...cell.childNodes].map((node) => node.cloneNode(true))));
  const values = rows.map((row) => [...row.cells].map((cell) => cell.dataset.value));

  function show() {
    const { benchmark, retriever, language, encoder } = Object.fromEntries(new FormData(form));
    const bests = {};
    rows.forEach((row, i) => [...row.cells].forEach((cell, j) => {
      const slug = cell.dataset.benchmark;
      if (!slug) return;
      const value = language ? m3eval.own(scores[i][slug], language) : values[i][j];
      if (value === undefined) delete cell.dataset.value;
      else cell.dataset.value = value;
      cell.classList.toggle("none", value === undefined);
      if (!language) cell.replaceChildren(...averages[i][j].map((node) => node.cloneNode(true)));
      else if (value === undefined) cell.replaceChildren("–");
      else {
        cell.replaceChildren(m3eval.el("a", { href: `benchmark/${slug}.html` }, Number(value).toFixed(1)));
        if (!(bests[slug]?.value >= value)) bests[slug] = { value, cell };
      }
    }));
    for (const { cell } of Object.values(bests)) cell.firstChild.className = "best";
    for (const cell of table.querySelectorAll("[data-benchmark]")) cell.hidden = benchmark && cell.dataset.benchmark !== benchmark;
    let shown = 0;
    for (const row of rows) {
      const other = benchmark && row.querySelector(`[data-benchmark="${benchmark}"]`).dataset.value === undefined;
      const empty = language && !row.querySelector("[data-benchmark][data-value]");
      row.hidden = (retriever && row.dataset.retriever !== retriever) || other || empty
        || !row.dataset.encoder.toLowerCase().includes(encoder.toLowerCase());
      shown += !row.hidden;
    }
    document.getElementById("shown").textContent = `${shown} of ${rows.length} systems`;
  }

  m3eval.filter(form, show);
}
