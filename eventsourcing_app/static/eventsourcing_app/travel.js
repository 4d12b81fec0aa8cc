// The slider of the page "Time travel": shows the version that it stands at, without loading the whole page.
// One request at a time, the newest; what goes wrong is left to the browser, which loads the page instead.

const form = document.getElementById("es-travel");
const part = document.getElementById("es-past");
const slider = document.getElementById("es-slider");

if (form && part && slider) {
    const version = form.elements.namedItem("version");
    const compare = form.elements.namedItem("compare");
    const status = document.getElementById("es-travel-status");
    const QUIET = 150; // milliseconds without a further movement
    const mark = document.getElementById("es-mark");
    let timer, request, shown;

    // The mark of the chart stands where the state was recorded; before there was any, it is gone.
    const move = () => {
        const then = Date.parse(part.querySelector("[data-recorded]")?.dataset.recorded);
        mark.toggleAttribute("hidden", Number.isNaN(then));
        if (!Number.isNaN(then)) {
            const [first, last, left, right] = ["first", "last", "left", "right"].map((name) => Number(mark.dataset[name]));
            const share = last > first ? (Math.min(Math.max(then, first), last) - first) / (last - first) : 0.5;
            for (const side of ["x1", "x2"]) {
                mark.setAttribute(side, left + (right - left) * share);
            }
        }
    };

    const address = () => {
        const url = new URL(form.action);
        for (const field of [version, compare]) {
            if (field.value) {
                url.searchParams.set(field.name, field.value);
            }
        }
        return url;
    };

    const show = async () => {
        clearTimeout(timer);
        const url = address();
        if (!version.value || !form.checkValidity() || url.href === shown) {
            return;
        }
        request?.abort();
        const own = (request = new AbortController());
        shown = url.href;
        part.setAttribute("aria-busy", "true");
        try {
            const asked = new URL(url);
            asked.searchParams.set("part", "1");
            const answer = await fetch(asked, {signal: own.signal, headers: {Accept: "text/html"}});
            if (answer.redirected || (!answer.ok && answer.status !== 400)) {
                throw new Error(`${answer.status}`);
            }
            const text = await answer.text();
            if (own !== request) {
                return;
            }
            part.innerHTML = text; // of this site, escaped by its templates
            part.removeAttribute("aria-busy");
            if (mark) {
                move();
            }
            history.replaceState(null, "", url);
            status.textContent = part.querySelector("h2, .errornote")?.textContent ?? "";
        } catch (error) {
            if (error.name !== "AbortError") {
                location.assign(url);
            }
        }
    };

    const soon = () => {
        clearTimeout(timer);
        timer = setTimeout(show, QUIET);
    };

    slider.addEventListener("input", () => {
        version.value = slider.value;
        soon();
    });
    slider.addEventListener("change", show);
    version.addEventListener("input", () => {
        if (version.value && version.checkValidity()) {
            slider.value = version.value;
        }
        soon();
    });
    compare.addEventListener("input", () => {
        version.value ||= slider.value;
        soon();
    });
    document.getElementById("es-slide").hidden = false;
}
