"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Tables: a header is a button that sorts by its column; what has no figure stays last, equal rows keep their order.
function sortable(table) {
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const way = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      heads.forEach((other) => other.setAttribute("aria-sort", other === head ? way : "none"));
      const rows = [...table.tBodies[0].rows].sort((a, b) => compared(a.cells[column], b.cells[column], way));
      table.tBodies[0].append(...rows);
    });
  });
}

function compared(a, b, way) {
  const [x, y] = [a.dataset.order, b.dataset.order];
  if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
  const difference = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en") : x - y;
  return way === "ascending" ? difference : -difference;
}

// Tips are shown by the style sheet on hover and focus; Escape puts them away until the next movement.
function tips() {
  const back = () => document.body.classList.remove("tips-off");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.body.classList.add("tips-off");
    else back();
  });
  document.addEventListener("pointermove", back);
}

// Learning curves: a cursor at the nearest point, and the loss of each seed there.
function readable(panel, last) {
  const curves = data.curves.filter((curve) => curve.arm === panel.dataset.arm);
  const longest = curves.reduce((a, b) => (b.steps.length > a.steps.length ? b : a));
  const [cursor, readout] = [panel.querySelector(".cursor"), panel.querySelector(".readout")];
  let at = longest.steps.length - 1;
  const show = (place) => {
    at = Math.max(0, Math.min(longest.steps.length - 1, place));
    const x = `${(100 * longest.steps[at]) / last}%`;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    panel.classList.add("read");
    const losses = curves.filter((curve) => at < curve.losses.length);
    readout.textContent =
      `step ${Math.round(longest.steps[at])}: ` + losses.map((c) => `seed ${c.seed} ${c.losses[at]}`).join(" · ");
  };
  const leave = () => {
    panel.classList.remove("read");
    readout.textContent = "";
  };
  panel.querySelector(".chart").addEventListener("pointermove", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const step = (last * (event.clientX - box.left)) / box.width;
    const far = longest.steps.map((other) => Math.abs(other - step));
    show(far.indexOf(Math.min(...far)));
  });
  panel.querySelector(".chart").addEventListener("pointerleave", leave);
  panel.addEventListener("focus", () => show(at));
  panel.addEventListener("blur", leave);
  panel.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) {
      event.preventDefault();
      show(at + move);
    }
  });
}

// Rollouts: two films of the same episode, played together.
function rollouts(form) {
  const films = data.films;
  const sides = all(".side", form).map((box) => ({
    arm: form.elements[`${box.dataset.side}-arm`],
    seed: form.elements[`${box.dataset.side}-seed`],
    video: box.querySelector("video"),
    outcome: box.querySelector(".outcome"),
  }));
  const { episode, play, time, slow } = form.elements;
  const said = form.querySelector(".instruction");
  const videos = sides.map((side) => side.video);
  const longest = () => Math.max(0.001, ...videos.map((video) => video.duration || 0));
  const unique = (values) => [...new Set(values)];
  const offer = (select, values, kept) => {
    const chosen = values.includes(kept) ? kept : values[0];
    select.replaceChildren(...values.map((value) => new Option(value, value, false, value === chosen)));
  };
  const of = (side, name) => films.filter((film) => film.arm === side.arm.value && String(film.seed) === name);

  function offerSeeds(side, kept) {
    const seeds = unique(films.filter((film) => film.arm === side.arm.value).map((film) => String(film.seed)));
    offer(side.seed, seeds, kept);
  }
  function offerEpisodes() {
    const [left, right] = sides.map((side) => of(side, side.seed.value).map((film) => film.episode));
    offer(episode, left.filter((one) => right.includes(one)), episode.value);
    load();
  }
  function load() {
    pause();
    const shown = sides.map((side) => of(side, side.seed.value).find((film) => film.episode === episode.value));
    sides.forEach((side, place) => {
      const film = shown[place];
      side.outcome.replaceChildren();
      if (!film) return side.video.removeAttribute("src");
      side.video.src = `data:video/mp4;base64,${film.film}`;
      side.video.setAttribute("aria-label", `${film.arm}, seed ${film.seed}, episode ${film.episode}: ${ended(film)}`);
      const word = document.createElement("b");
      word.className = film.success ? "won" : "lost";
      word.textContent = film.success ? "✓ success" : "✗ failure";
      side.outcome.append(word, ended(film).replace(/^\w+/, ""));
    });
    time.value = 0;
    said.textContent = shown[0] ? `Instruction: ${shown[0].instruction}` : "These two have no filmed episode in common.";
  }
  function ended(film) {
    const part = film.success ? "" : `, ${Math.round(100 * film.progress)} % of the task's stages reached`;
    return `${film.success ? "success" : "failure"} after ${film.steps} steps${part}`;
  }
  function pause() {
    videos.forEach((video) => video.pause());
    play.textContent = "Play both";
  }
  function start() {
    if (videos.every((video) => video.ended || video.currentTime === 0)) videos.forEach((v) => (v.currentTime = 0));
    videos.forEach((video) => {
      video.playbackRate = slow.checked ? 0.5 : 1;
      if (video.src && video.currentTime < video.duration) video.play().catch(pause);
    });
    play.textContent = "Pause";
    requestAnimationFrame(follow);
  }
  function follow() {
    const now = Math.max(...videos.map((video) => video.currentTime));
    time.value = now / longest();
    if (play.textContent !== "Pause") return;
    if (videos.every((video) => video.paused || video.ended)) pause();
    else requestAnimationFrame(follow);
  }

  offer(sides[0].arm, unique(films.map((film) => film.arm)));
  offer(sides[1].arm, unique(films.map((film) => film.arm)), films.find((film) => film.arm !== films[0].arm)?.arm);
  sides.forEach((side) => {
    offerSeeds(side);
    side.arm.addEventListener("change", () => {
      offerSeeds(side, sides.find((other) => other !== side).seed.value);
      offerEpisodes();
    });
    side.seed.addEventListener("change", offerEpisodes);
  });
  episode.addEventListener("change", load);
  play.addEventListener("click", () => (play.textContent === "Pause" ? pause() : start()));
  slow.addEventListener("change", () => videos.forEach((video) => (video.playbackRate = slow.checked ? 0.5 : 1)));
  time.addEventListener("input", () => {
    pause();
    videos.forEach((video) => (video.currentTime = Math.min(time.value * longest(), video.duration || 0)));
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  offerEpisodes();
  form.hidden = false;
  document.getElementById("no-viewer").hidden = true;
}

// Details: the one that a link leads to, all at once, and all of them on paper.
function details(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const open = button.textContent === "Open all";
    all("#provenance > details").forEach((one) => (one.open = open));
    button.textContent = open ? "Close all" : "Open all";
  });
  const reach = () => {
    const one = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (one && one.matches("details")) one.open = true;
  };
  addEventListener("hashchange", reach);
  reach();
  addEventListener("beforeprint", () => all("#provenance > details, .as-table").forEach((one) => (one.open = true)));
}

all("table.sortable").forEach(sortable);
tips();
all(".panels").forEach((box) => all(".panel", box).forEach((panel) => readable(panel, Number(box.dataset.last))));
all("#viewer").forEach(rollouts);
details(document.getElementById("open-all"));
