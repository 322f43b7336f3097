"use strict";
// Whatever a catalogue holds (ids, titles, categories) is written by textContent alone.
const byId = (id) => document.getElementById(id);
const [query, hits, triggers, dial, count, status] = ["query", "hits", "triggers", "dial", "k", "status"].map(byId);
const HEADS = ["engagement", "blend", "relevance"];
const MOST_TRIGGERS = 50;

const model = { name: "", items: null };
let chosen = []; // {item_id, title}, the first counts most
let found = [];
let active = -1;

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

const nameOf = (item) => item.title || item.item_id;

function say(line, wrong = false) {
  status.textContent = line;
  status.classList.toggle("wrong", wrong);
}

// Only the last of several calls counts: the ones before it are cancelled, and wait for a pause in typing or sliding.
function latest(pause, work) {
  let timer, running;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      running?.abort();
      running = new AbortController();
      try {
        await work(running.signal);
      } catch (error) {
        if (error.name !== "AbortError") say(error.message, true);
      }
    }, pause);
  };
}

async function fetched(path, signal, body) {
  const options = body ? { method: "POST", body: JSON.stringify(body), signal } : { signal };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("The server cannot be reached: is mtmh serve running?");
  }
  const document = await response.json();
  if (!response.ok) throw new Error(document.error || `HTTP ${response.status}`);
  return document;
}

// --- asking the model, over the same REST API as any client ---

async function predict(signature, instances, signal) {
  const path = `/v1/models/${encodeURIComponent(model.name)}:predict`;
  return (await fetched(path, signal, { signature_name: signature, instances })).predictions;
}

async function answers(signal) {
  const ids = ["", ...chosen.map((item) => item.item_id)];
  const row = { item_id: ids, exclude_id: [""], k: Math.min(100, Math.max(1, Math.trunc(Number(count.value)) || 10)) };
  const rows = [0, Number(dial.value), 1].map((relevance_weight) => ({ ...row, relevance_weight }));
  const start = performance.now();
  const columns = await predict("retrieve", rows, signal);
  const milliseconds = performance.now() - start;
  const lists = columns.map((column) =>
    column.item_id.slice(0, column.count).map((item_id, at) => ({
      item_id,
      score: column.score[at],
      engagement: column.engagement_score[at],
      relevance: column.relevance_score[at],
      source: column.source[at],
    })),
  );
  return { lists, milliseconds };
}

async function named(items, signal) {
  const ids = [...new Set(items.map((item) => item.item_id))];
  if (!ids.length) return;
  let rows;
  try {
    rows = await predict("describe", ids, signal);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return; // a model that was exported without titles
  }
  const names = new Map(ids.map((id, at) => [id, rows[at]]));
  for (const item of items) {
    const name = names.get(item.item_id);
    item.title = name.title;
    item.categories = name.categories.split("|").filter(Boolean);
  }
}

const ask = latest(60, async (signal) => {
  remember();
  const { lists, milliseconds } = await answers(signal);
  await named(lists.flat(), signal);
  HEADS.forEach((head, at) => show(byId(head).querySelector("ol"), lists[at]));
  const fallback = lists[1].length && lists[1].every((item) => item.source === "popular");
  const note = chosen.length && fallback ? " The model does not know these triggers: popular items are shown." : "";
  say(`Answered in ${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms: one request, three settings of the dial.${note}`);
});

// --- what is shown ---

function show(list, items) {
  list.replaceChildren(...items.map((item, at) => shown(item, at + 1)));
  if (!items.length) list.append(element("li", "empty", "No items."));
}

function shown(item, rank) {
  const row = element("li"), body = element("div"), title = element("button", "title", nameOf(item));
  title.type = "button";
  title.title = "Use as the trigger";
  title.addEventListener("click", () => choose([{ item_id: item.item_id, title: item.title }]));
  const about = element("div", "about");
  if (item.title) about.append(element("span", "id", item.item_id));
  about.append(element("span", `source ${item.source}`, item.source));
  body.append(title, about);
  if (item.categories?.length) {
    const topics = element("ul", "topics");
    topics.append(...item.categories.map((category) => element("li", "", category)));
    body.append(topics);
  }
  const scores = element("dl", "scores");
  const share = [["share of all engagements", `${(100 * item.score).toFixed(2)} %`]];
  const three = ["score", "engagement", "relevance"].map((name) => [name, item[name].toFixed(3)]);
  for (const [name, value] of item.source === "popular" ? share : three) {
    const pair = element("div");
    pair.append(element("dt", "", name), element("dd", "", value));
    scores.append(pair);
  }
  body.append(scores);
  row.append(element("span", "rank", rank), body);
  return row;
}

function showTriggers() {
  triggers.replaceChildren(
    ...chosen.map((item, at) => {
      const row = element("li"), button = element("button", "", nameOf(item));
      button.type = "button";
      button.setAttribute("aria-label", `Remove trigger ${nameOf(item)}`);
      button.addEventListener("click", () => {
        choose(chosen.filter((_, other) => other !== at));
        (triggers.querySelectorAll("button")[at] || query).focus();
      });
      row.append(button);
      return row;
    }),
  );
  byId("none").hidden = chosen.length > 0;
}

function choose(items) {
  chosen = items.slice(0, MOST_TRIGGERS);
  showTriggers();
  ask();
}

function showDial() {
  const weight = Number(dial.value).toFixed(2);
  byId("weight").textContent = weight;
  byId("blend-dial").textContent = `dial ${weight}`;
}

// --- search ---

const search = latest(120, async (signal) => {
  const words = query.value.trim();
  if (!words) return close();
  found = (await fetched(`/explorer/search?q=${encodeURIComponent(words)}`, signal)).items;
  hits.replaceChildren(...found.map(hit));
  if (!found.length) hits.append(element("li", "id", "Nothing found."));
  open(found.length ? 0 : -1);
  say(found.length ? `${found.length} item${found.length > 1 ? "s" : ""} found.` : "Nothing found.");
});

function hit(item, at) {
  const row = element("li");
  row.id = `hit-${at}`;
  row.setAttribute("role", "option");
  row.append(element("div", "", nameOf(item)), element("div", "id", [item.item_id, ...item.categories].join(" · ")));
  row.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays in the field
  row.addEventListener("click", () => add(at));
  return row;
}

function open(at) {
  hits.hidden = false;
  query.setAttribute("aria-expanded", "true");
  active = at;
  [...hits.children].forEach((row, number) => row.setAttribute("aria-selected", String(number === at)));
  if (at < 0) return query.removeAttribute("aria-activedescendant");
  query.setAttribute("aria-activedescendant", `hit-${at}`);
  hits.children[at].scrollIntoView({ block: "nearest" });
}

function close() {
  hits.hidden = true;
  active = -1;
  query.setAttribute("aria-expanded", "false");
  query.removeAttribute("aria-activedescendant");
}

function add(at) {
  const { item_id, title } = found[at];
  query.value = "";
  close();
  if (!chosen.some((item) => item.item_id === item_id)) choose([...chosen, { item_id, title }]);
}

query.addEventListener("input", search);
query.addEventListener("blur", close);
query.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return close();
  if (hits.hidden || !found.length) return;
  if (event.key === "ArrowDown") open((active + 1) % found.length);
  else if (event.key === "ArrowUp") open((active - 1 + found.length) % found.length);
  else if (event.key === "Enter" && active >= 0) add(active);
  else return;
  event.preventDefault();
});
dial.addEventListener("input", () => { showDial(); ask(); });
count.addEventListener("input", ask);

// --- the question lives in the address, to be shared and reloaded ---

function remember() {
  const state = new URLSearchParams(chosen.map((item) => ["item", item.item_id]));
  state.set("dial", dial.value);
  state.set("k", count.value);
  history.replaceState(null, "", `#${state}`);
}

async function begin() {
  const told = await fetched("/explorer/model");
  model.name = told.model;
  const items = told.items === null ? "" : `, ${told.items.toLocaleString("en")} items`;
  byId("model").textContent = `${told.model} version ${told.version}${items}${told.merge ? `, merged by ${told.merge}` : ""}`;
  const state = new URLSearchParams(location.hash.slice(1));
  dial.value = state.get("dial") ?? told.relevance_weight ?? 0.3;
  count.value = state.get("k") ?? 10;
  const items_asked = state.getAll("item").map((item_id) => ({ item_id, title: "" }));
  await named(items_asked);
  showDial();
  choose(items_asked);
}

begin().catch((error) => { byId("model").textContent = ""; say(error.message, true); });
