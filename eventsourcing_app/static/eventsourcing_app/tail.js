/*
 * Puts new events on top of the list of events as they come, and holds them back while somebody reads.
 *
 * The server tells every settled event after a position once. The list may show some of them already, as it also has
 * events that are not settled yet: these are known by their positions. Without this script the page loads itself again.
 */

const EVERY = 2_000; // milliseconds from one answer to the next question
const SLOWEST = 60_000;
const PATIENCE = 20_000;

const bar = document.getElementById("es-live");
if (bar) {
    follow(bar);
}

function follow(bar) {
    const pause = document.getElementById("es-live-pause");
    const show = document.getElementById("es-live-show");
    const status = document.getElementById("es-live-status");
    const texts = bar.dataset;
    const most = Number(texts.most);

    const table = document.querySelector("#result_list tbody");
    const list = document.querySelector("#changelist-form .results");
    const older = document.querySelector('.es-pages a[rel="next"]');
    const positions = texts.positions.split(" ").filter(Boolean).map(Number);
    if (table) {
        [...table.rows].forEach((row, index) => (row.dataset.position = positions[index]));
    }

    let reached = Number(texts.after);
    let known = new Set(positions); // on the page, or waiting for it
    let waiting = []; // rows to be shown, the newest first
    let leftOut = false; // whether some were skipped before those that wait
    let pointed = false;
    let wait = EVERY;
    let timer = null;
    let asking = false;
    let over = false;

    function say(text) {
        if (status.textContent !== text) {
            status.textContent = text;
        }
    }

    function isPaused() {
        return pause.getAttribute("aria-pressed") === "true";
    }

    function isRead() {
        const selection = document.getSelection();
        return (
            pointed ||
            document.hidden ||
            Boolean(list && list.contains(document.activeElement)) ||
            Boolean(list && list.getBoundingClientRect().top < 0) || // scrolled down to further rows
            Boolean(list && selection && !selection.isCollapsed && selection.containsNode(list, true))
        );
    }

    async function ask() {
        timer = null;
        if (document.hidden || asking || over) {
            return;
        }
        asking = true;
        try {
            const answer = await fetch(`${texts.url}&after=${reached}`, {
                headers: { Accept: "application/json" },
                credentials: "same-origin",
                redirect: "manual", // to the login
                cache: "no-store",
                signal: AbortSignal.timeout(PATIENCE),
            });
            if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
                end();
                return;
            }
            if (!answer.ok) {
                throw new Error(`status ${answer.status}`);
            }
            take(await answer.json());
            wait = EVERY;
        } catch {
            wait = Math.min(wait * 2, SLOWEST);
            say(texts.failing);
        } finally {
            asking = false;
            askAgain(wait);
        }
    }

    function askAgain(milliseconds) {
        if (timer === null && !document.hidden && !over) {
            timer = setTimeout(ask, milliseconds);
        }
    }

    function end() {
        over = true;
        pause.hidden = true;
        show.hidden = true;
        say(texts.over);
    }

    function take(answer) {
        const fresh = answer.rows.filter((row) => !known.has(row.position));
        reached = answer.reached;
        if (answer.skipped) {
            leftOut = true;
            waiting = []; // older than what was left out: the gap is before all that is shown next
        }
        waiting = [...fresh, ...waiting];
        if (waiting.length > most) {
            waiting = waiting.slice(0, most);
            leftOut = true;
        }
        for (const row of fresh) {
            known.add(row.position);
        }
        // Nothing at or below what is reached is told again.
        known = new Set([...known].filter((position) => position > reached));
        showUnlessRead(true);
    }

    function showUnlessRead(answered = false) {
        if (over) {
            return;
        }
        if (waiting.length && !isPaused() && !isRead()) {
            put();
        } else {
            tell(answered);
        }
    }

    function tell(answered) {
        show.hidden = waiting.length === 0;
        show.textContent = texts.show.replace("{number}", waiting.length);
        if (isPaused()) {
            say(texts.paused);
        } else if (waiting.length) {
            say(texts.reading);
        } else if (answered && (status.textContent === "" || status.textContent === texts.failing)) {
            say(texts.live);
        }
    }

    function put() {
        if (!table) {
            location.reload(); // an empty list has no table
            return;
        }
        const number = waiting.length;
        if (leftOut) {
            table.prepend(gap());
        }
        // The oldest first, so that each finds its place among those before.
        for (const row of waiting.reverse()) {
            insert(row);
        }
        waiting = [];
        leftOut = false;
        trim();
        show.hidden = true;
        say(texts.added.replace("{number}", number));
    }

    function insert({ position, html }) {
        const template = document.createElement("template");
        template.innerHTML = html;
        const row = template.content.firstElementChild;
        row.dataset.position = position;
        const below = [...table.rows].find((other) => !(Number(other.dataset.position) > position));
        if (below) {
            below.before(row);
        } else if (!older || older.hidden) {
            table.append(row);
        } // else it is on an older page
    }

    function gap() {
        const row = document.createElement("tr");
        const cell = document.createElement("td");
        row.className = "es-left-out";
        cell.colSpan = table.parentElement.tHead.rows[0].cells.length;
        cell.textContent = texts.skipped;
        row.append(cell);
        return row;
    }

    function trim() {
        const rows = [...table.rows];
        const surplus = rows.slice(most);
        if (!surplus.length) {
            return;
        }
        surplus.forEach((row) => row.remove());
        const lowest = rows.slice(0, most).findLast((row) => row.dataset.position);
        if (older && lowest) {
            const address = new URL(older.href);
            address.searchParams.set("before", lowest.dataset.position);
            older.href = address.href;
            older.hidden = false;
        }
    }

    pause.addEventListener("click", () => {
        pause.setAttribute("aria-pressed", String(!isPaused()));
        if (!isPaused()) {
            say(texts.live);
        }
        showUnlessRead();
    });
    show.addEventListener("click", () => {
        put();
        pause.focus();
    });
    if (list) {
        // A finger leaves no pointer behind.
        list.addEventListener("pointerenter", (event) => (pointed = event.pointerType === "mouse"));
        list.addEventListener("pointerleave", () => {
            pointed = false;
            showUnlessRead();
        });
        list.addEventListener("focusout", () => setTimeout(showUnlessRead));
    }
    document.addEventListener("visibilitychange", () => {
        clearTimeout(timer);
        timer = null;
        askAgain(0);
    });
    window.addEventListener("scroll", () => showUnlessRead(), { passive: true });

    bar.hidden = false;
    say(texts.live);
    askAgain(EVERY);
}
