"use strict";
// What all pages share: data that scripts hand over, elements made of text only, tables that sort.
const m3eval = {
  data: {},
  loads: {},
  waiting: {},

  // Called by the files in data/.
  put(key, value) {
    this.data[key] = value;
    (this.waiting[key] || []).forEach((go) => go(value));
    delete this.waiting[key];
  },

  // Loads a file of data/ by its key: as a script, since a page opened from disk may not fetch.
  load(key) {
    this.loads[key] ??= new Promise((go, fail) => {
      this.waiting[key] = [go];
      const script = this.el("script", { src: `${document.body.dataset.root}data/${key}.js` });
      script.onerror = () => fail(new Error(`The file data/${key}.js is missing.`));
      document.head.append(script);
    }).then((text) => this.unpack(text));
    return this.loads[key];
  },

  // What m3eval/reports/site/columns.py packed: records in columns, as gzip in base64.
  async unpack(text) {
    if (!window.DecompressionStream) throw new Error("This browser is too old to show single queries: it has no DecompressionStream.");
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return this.records(JSON.parse(await new Response(stream).text()));
  },
  records(column) {
    if (Array.isArray(column)) return column;
    if (column.ints) return column.ints.map((value) => value / 10 ** column.digits);
    if (column.counts) {
      const items = this.records(column.items);
      let at = 0;
      return column.counts.map((n) => items.slice(at, (at += n)));
    }
    const fields = Object.entries(column.fields).map(([name, values]) => [name, this.records(values)]);
    return Array.from({ length: column.records }, (_, i) => Object.fromEntries(fields.map(([name, values]) => [name, values[i]])));
  },

  // An element; children are text or elements, never markup.
  el(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  },

  // What an object itself has under a name that somebody else chose, such as "constructor".
  own(object, name) {
    return object && Object.hasOwn(object, name) ? object[name] : undefined;
  },

  options(select, names, labels = names) {
    select.replaceChildren(...names.map((name, i) => this.el("option", { value: name }, labels[i])));
  },

  // Puts the state of a form into the address, and back, so that a view can be passed on.
  remember(form) {
    const words = new URLSearchParams();
    for (const field of form.elements) {
      if (field.name && field.type === "checkbox") { if (field.checked !== field.defaultChecked) words.set(field.name, field.checked ? "on" : "off"); }
      else if (field.name && field.value) words.set(field.name, field.value);
    }
    history.replaceState(null, "", words.size ? `#${words}` : location.pathname + location.search);
  },
  recall(form) {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      const field = form.elements.namedItem(name); // not one of the list's own, such as "length"
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value !== "off";
      else field.value = value;
    }
  },

  // Tables as wide as their place allows: one that is wider is stacked, each row a block of cells that say their column.
  fit(place = document) {
    for (const box of place.matches?.(".wide") ? [place] : place.querySelectorAll(".wide")) {
      const table = box.querySelector("table");
      if (!table) continue;
      this.label(table);
      table.classList.remove("stacked");
      table.classList.toggle("stacked", table.offsetWidth > box.clientWidth);
      box.width = box.clientWidth;
      this.sizes.observe(box);
    }
  },
  sizes: new ResizeObserver((entries) => {
    for (const { target } of entries) if (target.clientWidth !== target.width) m3eval.fit(target);
  }),
  // What a stacked cell says above its value, and the roles that a table loses when it is no longer laid out as one.
  label(table) {
    const heads = [...(table.tHead.rows[0]?.cells ?? [])].map((head) => head.dataset.label ?? head.textContent.trim());
    const roles = { THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
    table.setAttribute("role", "table");
    for (const part of table.querySelectorAll("thead, tbody, tr, th, td")) {
      part.setAttribute("role", roles[part.tagName] ?? (part.scope === "col" ? "columnheader" : "rowheader"));
    }
    for (const row of table.querySelectorAll("tbody tr")) {
      for (const cell of row.querySelectorAll("td")) cell.dataset.label = heads[cell.cellIndex] ?? "";
    }
  },

  // Sorts a table anew by the column that it was sorted by, or by another one if nobody chose any that is still there.
  sortAgain(table, column) {
    const heads = [...table.tHead.rows[0].cells];
    const by = heads.findIndex((head) => !head.hidden && head.getAttribute("aria-sort") !== "none");
    if (by < 0) for (const head of heads) head.setAttribute("aria-sort", "none");
    sort(table, by < 0 ? column : by, by >= 0 && heads[by].getAttribute("aria-sort") === "descending");
  },

  // A button that copies a text. Where the clipboard may not be written, the text is selected, to be copied by hand.
  copyButton(label, text, source) {
    const button = this.el("button", { type: "button", class: "plain-button copy", onclick: () => {
      const say = (words) => { button.textContent = words; setTimeout(() => { button.textContent = label; }, 2000); };
      const select = () => { if (source) getSelection().selectAllChildren(source); say(source ? "selected: press Ctrl+C" : "not copied"); };
      if (navigator.clipboard) navigator.clipboard.writeText(text()).then(() => say("copied"), select);
      else select();
    } }, label);
    return button;
  },

  // A form of filters: shows what they leave, now and at every change.
  filter(form, show) {
    const change = () => { show(); this.remember(form); };
    this.recall(form);
    form.hidden = false;
    form.addEventListener("input", change);
    form.addEventListener("submit", (event) => event.preventDefault());
    change();
  },
};

function valueOf(cell) {
  if (!cell) return null;
  if (cell.classList.contains("number")) return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  return cell.textContent.trim();
}

// Rows of the first body only: published rows stay where they are. What has no value comes last either way, and averages
// over different languages are never mixed: those over the languages that most systems have come first.
function sort(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, i) => [valueOf(row.cells[column]), Number(row.cells[column]?.dataset.group ?? 0), i, row]);
  rows.sort(([a, group, i], [b, other, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j;
    if (group !== other) return group - other;
    const order = typeof a === "number" ? a - b : a.localeCompare(b);
    return (descending ? -order : order) || i - j;
  });
  body.append(...rows.map(([, , , row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = m3eval.el("button", { type: "button", class: "sort" });
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now === "none" ? (head.classList.contains("number") && head.textContent !== "rank" ? "descending" : "ascending") : now === "descending" ? "ascending" : "descending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", other === head ? next : "none");
      sort(table, column, next === "descending");
    });
  });
}

document.getElementById("link").replaceWith(m3eval.copyButton("Copy a link to this view", () => location.href));
m3eval.fit();
