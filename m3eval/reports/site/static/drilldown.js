"use strict";
// Single queries: which were won and lost, what each system found, and why.
{
  const { el } = m3eval;
  const form = document.getElementById("filters");
  const field = (name) => form.elements[name];
  const place = (id) => document.getElementById(id);
  const STEP = 25; // queries listed at once
  let index = null; // of the language
  let limit = STEP;
  let latest = 0; // the newest request: answers to older ones are dropped

  const figure = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 3 : 1));
  const languageOf = (name) => index[name] && { lang: index[name] };

  function chosen() {
    const systems = index.systems.map((system) => system.name);
    return [Math.max(0, systems.indexOf(field("a").value)), Math.max(0, systems.indexOf(field("b").value))];
  }

  async function language() {
    const entry = m3eval.data.drilldown.find((one) => one.name === field("language").value) || m3eval.data.drilldown[0];
    index = await m3eval.load(entry.key);
    index.key = entry.key;
    index.withLists = entry.with_lists;
    const names = index.systems.map((system) => system.name);
    for (const [name, other] of [["a", 0], ["b", names.length - 1]]) {
      const before = field(name).value || new URLSearchParams(location.hash.slice(1)).get(name);
      m3eval.options(field(name), names);
      field(name).value = names.includes(before) ? before : names[other];
    }
    list();
  }

  function wanted() {
    const [a, b] = chosen();
    const text = field("text").value.toLowerCase();
    const gain = ([, , scores]) => scores[a] - scores[b];
    const spread = ([, , scores]) => Math.max(...scores) - Math.min(...scores);
    let found = index.queries.filter(([qid, words]) => !text || words.toLowerCase().includes(text) || qid === field("text").value);
    const kind = field("list").value;
    if (kind === "won") found = found.filter((query) => gain(query) > 0).sort((x, y) => gain(y) - gain(x));
    if (kind === "lost") found = found.filter((query) => gain(query) < 0).sort((x, y) => gain(x) - gain(y));
    if (kind === "differ") found = [...found].sort((x, y) => spread(y) - spread(x));
    return found;
  }

  function list() {
    const [a, b] = chosen();
    const found = wanted();
    const names = index.systems.map((system) => system.name);
    const won = index.queries.filter(([, , scores]) => scores[a] > scores[b]).length;
    const lost = index.queries.filter(([, , scores]) => scores[a] < scores[b]).length;
    place("summary").textContent = `${names[a]} against ${names[b]}, ${index.metric}: ${won} queries won, `
      + `${index.queries.length - won - lost} tied, ${lost} lost of ${index.queries.length}.`
      + (index.withLists < index.queries.length ? ` Lists were kept for the ${index.withLists} queries on which systems differ most.` : "");
    const table = place("queries");
    table.caption.textContent = `${found.length} queries; ${index.metric} x 100`;
    table.tHead.replaceChildren(el("tr", {}, el("th", { scope: "col" }, "query"), ...[names[a], names[b], "difference"].map((name) => el("th", { scope: "col", class: "number" }, name))));
    table.tBodies[0].replaceChildren(...found.slice(0, limit).map(([qid, text, scores, file]) => {
      const name = el("span", { dir: "auto", ...languageOf("language") }, text);
      const gain = scores[a] - scores[b];
      return el("tr", {},
        el("th", { scope: "row", dir: "auto" }, file < 0 ? name : el("button", { type: "button", class: "link", "aria-pressed": String(qid === field("q").value), onclick: () => { field("q").value = qid; query(true); } }, name)),
        ...[scores[a], scores[b]].map((value) => el("td", { class: "number" }, value.toFixed(1))),
        el("td", { class: `number ${gain > 0 ? "up" : gain < 0 ? "down" : ""}` }, `${gain > 0 ? "+" : ""}${gain.toFixed(1)}`));
    }));
    place("more").hidden = found.length <= limit;
    place("queries-box").hidden = false;
    if (!index.queries.some(([qid]) => qid === field("q").value)) field("q").value = "";
    query(false);
  }

  async function query(focus) {
    m3eval.remember(form);
    const box = place("query");
    const entry = index.queries.find(([qid]) => qid === field("q").value);
    for (const button of place("queries").querySelectorAll("button")) button.setAttribute("aria-pressed", String(entry !== undefined && button.textContent === entry[1]));
    if (!entry || entry[3] < 0) return box.replaceChildren();
    const request = ++latest;
    const [qid, text, scores, file] = entry;
    const here = index;
    const details = (await m3eval.load(`${here.key}-q${String(file).padStart(3, "0")}`))[qid];
    const numbers = [...new Set(details.lists.flatMap((found) => found.map(([number]) => number)))];
    const files = [...new Set(numbers.map((number) => Math.floor(number / here.documents_per_file)))];
    const parts = await Promise.all(files.map((part) => m3eval.load(`${here.key}-d${String(part).padStart(3, "0")}`)));
    if (request !== latest) return;
    const documents = new Map(numbers.map((number) => [number, parts[files.indexOf(Math.floor(number / here.documents_per_file))][number % here.documents_per_file]]));
    const [a, b] = chosen();
    const order = [...new Set([a, b, ...here.systems.keys()])];
    box.replaceChildren(
      el("h2", { dir: "auto", ...languageOf("language") }, text),
      el("p", {}, `Query ${qid}. `, details.answers.length ? el("span", { dir: "auto" }, `Answers: ${details.answers.join(" · ")}`) : null),
      relevant(details),
      el("div", { class: "systems" }, ...order.map((i) => system(i, scores[i], details, documents, text))));
    if (focus) { box.focus({ preventScroll: true }); box.scrollIntoView(); }
  }

  function relevant(details) {
    if (!details.relevant.length) return null;
    const names = index.systems.map((one) => one.name);
    return el("div", { class: "wide", role: "region", "aria-label": "Ranks of relevant documents", tabindex: 0 }, el("table", {},
      el("caption", {}, `Ranks of the relevant documents${details.more_relevant ? ` (${details.more_relevant} more)` : ""}; –: not retrieved`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "document"), el("th", { scope: "col", class: "number" }, "grade"), ...names.map((name) => el("th", { scope: "col", class: "number" }, name)))),
      el("tbody", {}, ...details.relevant.map(([docid, grade, ranks]) => el("tr", {}, el("th", { scope: "row" }, docid), el("td", { class: "number" }, grade), ...ranks.map((rank) => el("td", { class: "number" }, rank ?? "–")))))));
  }

  function system(i, score, details, documents, text) {
    const { name, components, encoder } = index.systems[i];
    const found = details.lists[i];
    return el("section", { class: "system", "aria-label": name },
      el("h3", {}, name, " ", el("small", {}, `${index.metric} ${score.toFixed(1)}`)),
      found.length ? el("ol", {}, ...found.map(([number, total, ...parts]) => {
        const [docid, words, more] = documents.get(number);
        const why = details.why[encoder]?.[number];
        const grade = details.grades[number];
        const judgement = index.judged_by !== "qrels" ? null : grade > 0 ? `relevant (${grade})` : grade === undefined ? "not judged" : "not relevant";
        return el("li", { class: grade > 0 ? "relevant" : null },
          el("p", { class: "head" }, el("b", {}, docid), judgement && el("span", { class: `badge ${grade > 0 ? "good" : ""}` }, judgement), el("span", { class: "score" }, `score ${figure(total)}`)),
          parts.length ? el("p", { class: "parts" }, components.map((component, j) => `${component} ${figure(parts[j])}`).join(" · ")) : null,
          passage(words, more, why),
          reasons(why, text, words));
      })) : el("p", {}, "found nothing"));
  }

  // The text with marks over the characters of matched terms or token pairs. Places count code points, as Python does.
  function passage(words, more, why) {
    const kind = field("mark").value;
    const spans = [];
    if (why && kind === "terms") why[0].forEach(([, , , from, to], i) => { if (from !== undefined) spans.push([from, to, i + 1]); });
    if (why && kind === "pairs") why[1].forEach(([, , from, to], i) => { if (from >= 0) spans.push([from, to, i + 1]); });
    spans.sort((x, y) => x[0] - y[0] || x[1] - y[1]);
    const points = Array.from(words);
    const nodes = [];
    let at = 0;
    for (let i = 0; i < spans.length; i++) {
      const [from, to] = spans[i];
      if (from < at || to > points.length) continue;
      const numbers = spans.filter(([other, end]) => other === from && end === to).map(([, , number]) => number);
      nodes.push(points.slice(at, from).join(""), el("mark", { class: kind }, points.slice(from, to).join(""), el("sup", {}, numbers.join(","))));
      at = to;
    }
    nodes.push(points.slice(at).join(""), more ? el("small", {}, ` … ${more.toLocaleString("en")} more characters`) : null);
    return el("p", { class: "text", dir: "auto", ...languageOf("corpus_language") }, ...nodes);
  }

  function reasons(why, query, words) {
    const kind = field("mark").value;
    if (!why || kind === "none") return null;
    const asked = Array.from(query), given = Array.from(words);
    const part = (points, from, to) => (from < 0 ? "(end)" : to > points.length ? "(beyond)" : points.slice(from, to).join(""));
    const items = kind === "terms"
      ? why[0].map(([word, ours, theirs]) => el("li", {}, el("bdi", {}, word), ` ${figure(ours)} × ${figure(theirs)} = ${figure(ours * theirs)}`))
      : why[1].map(([from, to, start, end, product]) => el("li", {}, el("bdi", {}, part(asked, from, to)), " → ", el("bdi", {}, part(given, start, end)), ` ${figure(product)}`));
    return el("details", { class: "why" }, el("summary", {}, kind === "terms" ? "matched terms: weight in query × in document" : "best-matching tokens: query → document"),
      items.length ? el("ol", {}, ...items) : el("p", {}, kind === "terms" ? "no term in common" : "none"));
  }

  if (m3eval.data.drilldown) {
    const all = m3eval.data.drilldown;
    m3eval.options(field("language"), all.map((one) => one.name), all.map((one) => `${one.name} (${one.queries})`));
    m3eval.recall(form);
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target.name === "language") { field("q").value = ""; limit = STEP; language(); }
      else if (event.target.name === "mark") query(false);
      else { limit = STEP; list(); }
    });
    place("more").addEventListener("click", () => { limit += STEP; list(); });
    language();
  }
}
