// Flip between dark and light; the choice stays in this browser.
const root = document.documentElement;
root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
try { localStorage.setItem("vislib-theme", root.dataset.theme); } catch (_) { /* storage is switched off */ }
