"use strict";
// Single queries: which were won and lost, what each system found, and why.
{
  const { el } = m3eval;
  const form = document.getElementById("filters");
  const field = (name) => form.elements[name];
  const place = (id) => document.getElementById(id);
  const STEP = 25; // queries listed at once
  const FOLDED = 700; // characters of a text that is shown whole at once
  let index = null; // of the language
  let about = null; // what the list of languages says of it: files, sizes
  let limit = STEP;
  let latest = 0; // the newest request: answers to older ones are dropped

  const figure = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 3 : 1));
  const say = (error) => { place("summary").textContent = error.message; };
  const languageOf = (name) => ({ lang: index[name] }); // null: its name is no tag, and `el` leaves it out
  const scored = (score) => (score === null ? "–" : score.toFixed(1)); // null: the query does not count for the system
  const known = ([a, b]) => a !== null && b !== null;
  const gainOf = ({ scores }, [a, b]) => (known([scores[a], scores[b]]) ? scores[a] - scores[b] : 0);

  function chosen() {
    const systems = index.systems.map((system) => system.name);
    return [Math.max(0, systems.indexOf(field("a").value)), Math.max(0, systems.indexOf(field("b").value))];
  }

  async function language() {
    const entry = m3eval.data.drilldown.find((one) => one.name === field("language").value);
    const [loaded] = await m3eval.load(entry.key);
    if (entry.name !== field("language").value) return; // another was chosen meanwhile
    [index, about] = [loaded, entry];
    const names = index.systems.map((system) => system.name);
    for (const [name, other] of [["a", 0], ["b", names.length - 1]]) {
      const before = field(name).value || new URLSearchParams(location.hash.slice(1)).get(name);
      m3eval.options(field(name), names);
      field(name).value = names.includes(before) ? before : names[other];
    }
    list();
  }

  function wanted() {
    const pair = chosen();
    const text = field("text").value.toLowerCase();
    const gain = (query) => gainOf(query, pair);
    const spread = ({ scores }) => Math.max(...scores) - Math.min(...scores);
    let found = index.queries.filter((one) => !text || one.text.toLowerCase().includes(text) || one.qid === field("text").value);
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
    const both = index.queries.filter(({ scores }) => known([scores[a], scores[b]]));
    const won = both.filter((query) => gainOf(query, [a, b]) > 0).length;
    const lost = both.filter((query) => gainOf(query, [a, b]) < 0).length;
    const uncounted = index.queries.length - both.length;
    const { with_lists: withLists, cut, characters } = about;
    place("summary").textContent = `${names[a]} against ${names[b]}, ${index.metric}: ${won} queries won, `
      + `${both.length - won - lost} tied, ${lost} lost of ${both.length}.`
      + (uncounted ? ` ${uncounted} more do not count (–), for a run found nothing.` : "")
      + (withLists < index.queries.length ? ` To save space only the ${withLists} queries on which systems differ most have lists.` : "")
      + (cut ? ` ${cut.toLocaleString("en")} of the documents are cut at ${characters.toLocaleString("en")} characters.` : "");
    const table = place("queries");
    table.caption.textContent = `${found.length} queries; ${index.metric} x 100`;
    table.tHead.replaceChildren(el("tr", {}, el("th", { scope: "col" }, "query"), ...[names[a], names[b], "difference"].map((name) => el("th", { scope: "col", class: "number" }, name))));
    table.tBodies[0].replaceChildren(...found.slice(0, limit).map(({ qid, text, scores, file }) => {
      const name = el("span", languageOf("language"), text);
      const gain = gainOf({ scores }, [a, b]);
      return el("tr", {},
        el("th", { scope: "row", dir: "auto" }, file < 0 ? name : el("button", { type: "button", class: "link", value: qid, onclick: () => { field("q").value = qid; query(true).catch(say); } }, name)),
        ...[scores[a], scores[b]].map((value) => el("td", { class: "number" }, scored(value))),
        el("td", { class: `number ${gain > 0 ? "up" : gain < 0 ? "down" : ""}` }, known([scores[a], scores[b]]) ? `${gain > 0 ? "+" : ""}${gain.toFixed(1)}` : "–"));
    }));
    place("more").hidden = found.length <= limit;
    place("queries-box").hidden = false;
    m3eval.fit(place("queries-box"));
    if (!index.queries.some(({ qid }) => qid === field("q").value)) field("q").value = "";
    query(false).catch(say);
  }

  async function query(focus) {
    m3eval.remember(form);
    const box = place("query");
    const entry = index.queries.find(({ qid }) => qid === field("q").value);
    for (const button of place("queries").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === entry?.qid));
    const request = ++latest;
    if (!entry || entry.file < 0) return box.replaceChildren();
    const { qid, text, scores, file } = entry;
    const [here, { key }] = [index, about];
    const part = (kind, number) => m3eval.load(`${key}-${kind}${String(number).padStart(3, "0")}`);
    const details = (await part("q", file)).find((one) => one.qid === qid);
    const documents = await Promise.all(details.documents.map(async (number) =>
      (await part("d", Math.floor(number / here.documents_per_file)))[number % here.documents_per_file]));
    if (request !== latest) return;
    const [a, b] = chosen();
    const order = [...new Set([a, b, ...here.systems.keys()])];
    box.replaceChildren(
      el("h2", { dir: "auto", ...languageOf("language") }, text),
      el("p", {}, "Query ", el("bdi", {}, qid), ". ", details.answers.length ? el("span", { dir: "auto" }, `Answers: ${details.answers.join(" · ")}`) : null),
      relevant(details),
      el("div", { class: "systems" }, ...order.map((i) => system(i, scores[i], details, documents, text))));
    m3eval.fit(box);
    if (focus) { box.focus({ preventScroll: true }); box.scrollIntoView(); }
  }

  function relevant(details) {
    if (!details.relevant.length) return null;
    const names = index.systems.map((one) => one.name);
    return el("div", { class: "wide" }, el("table", {},
      el("caption", {}, `Ranks of the relevant documents${details.more_relevant ? ` (${details.more_relevant} more)` : ""}; –: not retrieved`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "document"), el("th", { scope: "col", class: "number" }, "grade"), ...names.map((name) => el("th", { scope: "col", class: "number" }, name)))),
      el("tbody", {}, ...details.relevant.map(({ docid, grade, ranks }) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, docid)), el("td", { class: "number" }, grade), ...ranks.map((rank) => el("td", { class: "number" }, rank ?? "–")))))));
  }

  function system(i, score, details, documents, text) {
    const { name, encoder } = index.systems[i];
    const found = m3eval.own(details.lists, name);
    const why = m3eval.own(details.why, encoder);
    return el("section", { class: "system", "aria-label": name },
      el("h3", {}, el("bdi", {}, name), " ", el("small", {}, `${index.metric} ${scored(score)}`)),
      found.places.length ? el("ol", {}, ...found.places.map((number, rank) => {
        const { docid, text: words, more } = documents[number];
        const reason = why && { words: why.words, tokens: why.tokens, ...why.documents[number] };
        const grade = details.grades[number];
        const judgement = index.judged_by !== "qrels" ? null : grade > 0 ? `relevant (${grade})` : grade === null ? "not judged" : "not relevant";
        const parts = Object.entries(found.components).map(([component, values]) => `${component} ${figure(values[rank])}`);
        return el("li", { class: grade > 0 ? "relevant" : null },
          el("p", { class: "head" }, el("b", {}, el("bdi", {}, docid)), judgement && el("span", { class: `badge ${grade > 0 ? "good" : ""}` }, judgement), el("span", { class: "score" }, `score ${figure(found.scores[rank])}`)),
          parts.length ? el("p", { class: "parts" }, parts.join(" · ")) : null,
          documentText(words, more, reason),
          reasons(reason, text, words, encoder));
      })) : el("p", {}, "found nothing"));
  }

  // The text with marks over the characters of matched terms or token pairs. Places count code points, as Python does.
  function documentText(words, more, why) {
    const kind = field("mark").value;
    const spans = [];
    const points = Array.from(words);
    (why?.[kind] || []).forEach(({ at, length }, i) => {
      if (at < 0 || at + length > points.length) return;
      const end = at + length;
      while (at < end && !points[at].trim()) at++; // a token may begin with a blank, after which a line may break
      if (at < end) spans.push([at, end, i + 1]);
    });
    spans.sort((x, y) => x[0] - y[0] || x[1] - y[1]);
    const nodes = [];
    let at = 0;
    for (let i = 0; i < spans.length; i++) {
      const [from, to] = spans[i];
      if (from < at) continue;
      const numbers = spans.filter(([other, end]) => other === from && end === to).map(([, , number]) => number);
      nodes.push(points.slice(at, from).join(""), el("mark", { class: kind }, points.slice(from, to).join(""), el("sup", {}, numbers.join(","))));
      at = to;
    }
    nodes.push(points.slice(at).join(""), more ? el("small", {}, ` … ${more.toLocaleString("en")} more characters`) : null);
    const text = el("p", { class: "text", dir: "auto", ...languageOf("corpus_language") }, ...nodes);
    if (points.length <= FOLDED) return text;
    const fold = el("button", { type: "button", class: "link", "aria-expanded": "false", onclick: () => {
      const whole = !text.classList.toggle("folded");
      fold.setAttribute("aria-expanded", String(whole));
      fold.textContent = whole ? "less" : "more";
    } }, "more");
    text.classList.add("folded");
    return el("div", {}, text, fold);
  }

  function reasons(why, query, words, encoder) {
    const kind = field("mark").value;
    if (!why || kind === "none") return null;
    const asked = Array.from(query), given = Array.from(words);
    const part = (points, { at, length }) => (at < 0 ? "(end)" : at + length > points.length ? "(beyond what is shown)" : points.slice(at, at + length).join(""));
    const items = kind === "terms"
      ? why.terms.map(({ word: i, weight }) => { const { word, weight: ours } = why.words[i]; return el("li", {}, el("bdi", {}, word), ` ${figure(ours)} × ${figure(weight)} = ${figure(ours * weight)}`); })
      : why.pairs.map((pair) => el("li", {}, el("bdi", {}, part(asked, why.tokens[pair.token])), " → ", el("bdi", {}, part(given, pair)), ` ${figure(pair.product)}`));
    return el("details", { class: "why" }, el("summary", {}, kind === "terms" ? `matched terms of ${encoder}: weight in query × in document` : `best-matching tokens of ${encoder}: query → document`),
      items.length ? el("ol", {}, ...items) : el("p", {}, kind === "terms" ? "no term in common" : "none"));
  }

  if (m3eval.data.drilldown) {
    const all = m3eval.data.drilldown;
    m3eval.options(field("language"), all.map((one) => one.name), all.map((one) => `${one.name} (${one.queries})`));
    m3eval.recall(form);
    field("language").value ||= all[0].name;
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      if (event.target.name === "language") { field("q").value = ""; limit = STEP; language().catch(say); }
      else if (event.target.name === "mark") query(false).catch(say);
      else { limit = STEP; list(); }
    });
    place("more").addEventListener("click", () => { limit += STEP; list(); });
    language().catch(say);
  }
}
