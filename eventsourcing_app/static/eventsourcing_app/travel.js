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
    let timer, request, shown;

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
