// The button that switches between the light and the dark theme. Without it the page follows the system.
// The choice is remembered; a few words in the page's head apply it before anything is drawn.
"use strict";
{
  const button = document.querySelector(".theme"), root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  const show = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("kdbench-theme", root.dataset.theme); } catch { /* remembered for this page alone */ }
    show();
  });
  system.addEventListener("change", show);
  show();
  button.hidden = false;
}
