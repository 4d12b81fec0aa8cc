/* Buttons that copy a text of the page. Without this, or where the browser does not allow it, there are none. */
if (navigator.clipboard) {
    for (const button of document.querySelectorAll("button[data-es-copies]")) {
        const source = document.getElementById(button.dataset.esCopies);
        const said = button.textContent;
        button.hidden = false;
        button.addEventListener("click", async () => {
            try {
                await navigator.clipboard.writeText(source.textContent);
                button.textContent = button.dataset.esDone;
                setTimeout(() => { button.textContent = said; }, 2000);
            } catch {
                getSelection().selectAllChildren(source);
            }
        });
    }
}
