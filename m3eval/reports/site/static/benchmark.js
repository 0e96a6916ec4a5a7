"use strict";
// A benchmark's page: filters, and what made a cell.
{
  const { el } = m3eval;
  const board = m3eval.data.board;
  const form = document.getElementById("filters");
  const dialog = document.getElementById("cell");
  const tables = [...document.querySelectorAll("table.scores")];

  function show() {
    const { retriever, system, heat, published } = Object.fromEntries(new FormData(form));
    let shown = 0;
    for (const table of tables) {
      table.classList.toggle("plain", !heat);
      for (const body of table.querySelectorAll(".published")) body.hidden = !published;
      for (const row of table.tBodies[0].rows) {
        row.hidden = (retriever && row.dataset.retriever !== retriever) || !row.dataset.system.toLowerCase().includes(system.toLowerCase());
        shown += table === tables[0] && !row.hidden;
      }
    }
    document.getElementById("shown").textContent = `${shown} of ${tables[0].tBodies[0].rows.length} systems`;
  }

  // Lines of commands, and a button that copies them.
  function commands(lines) {
    const code = el("code", {}, lines.join("\n"));
    return el("div", { class: "commands" }, el("pre", {}, code), m3eval.copyButton("Copy", () => lines.join("\n"), code));
  }

  function facts(pairs) {
    return el("dl", {}, ...pairs.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  }

  function open(button) {
    const { row: number, column, metric } = button.dataset;
    const row = board.rows[number];
    const result = m3eval.own(board.results, row.result);
    const name = m3eval.own(board.literals, column);
    const queries = m3eval.own(board.queries, column);
    const value = button.closest("td").dataset.value;
    const distance = m3eval.own(row.distances, `${metric}/${column}`);
    document.getElementById("cell-title").textContent = `${row.label}, ${column}: ${metric} x 100 = ${Number(value).toFixed(2)}`;
    const one = name && result.one_language.map((line) => line.replaceAll(board.placeholder, () => name));
    const body = [
      el("p", {}, "The commands that made it:"),
      commands(result.lines),
      one && el("details", {}, el("summary", {}, `only ${column}`), commands(one)),
      result.gone.length ? el("p", {}, `Settings that were recorded and exist no longer: ${result.gone.join(", ")}.`) : null,
      facts([
        ["encoder", result.encoder], ["retriever", row.retriever], ["reads", row.reads],
        ["judged queries", queries && queries.toLocaleString("en")],
        ["published", distance && `${distance.reference} (${distance.table}), ours minus published ${distance.delta.toFixed(2)}: ${distance.verdict}`],
        ["made with", `m3eval ${result.made_with.join(", ")}`],
        ["scored with", Object.entries(result.evaluated_with).map((pair) => pair.join(" ")).join(", ")],
        ["encoder's identity", result.encoder_identity && `SHA-256 ${result.encoder_identity}…`],
      ]),
      el("details", {}, el("summary", {}, "texts"), facts(Object.entries(result.texts))),
    ];
    document.getElementById("cell-body").replaceChildren(...body.filter(Boolean));
    dialog.showModal();
  }

  // A table's scores are one stop of the Tab key per row; arrows go from score to score.
  for (const table of tables) {
    for (const row of table.tBodies[0].rows) [...row.querySelectorAll("button")].slice(1).forEach((button) => { button.tabIndex = -1; });
    table.addEventListener("click", (event) => { const button = event.target.closest("td button"); if (button) open(button); });
    table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td");
      const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!cell || !steps) return;
      const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
      const next = rows[rows.indexOf(cell.parentElement) + steps[0]]?.cells[cell.cellIndex + steps[1]]?.querySelector("button");
      if (next) { next.focus(); event.preventDefault(); }
    });
  }

  m3eval.filter(form, show);
}
