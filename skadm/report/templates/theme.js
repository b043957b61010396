"use strict";
// The theme is the system's until the button is pressed; it is remembered where that is allowed.
(() => {
  const page = document.documentElement;
  const key = "skadm-theme";
  const dark = () =>
    (page.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  let kept = null;
  try { kept = localStorage.getItem(key); } catch { /* files may have no storage */ }
  if (kept === "dark" || kept === "light") page.dataset.theme = kept;
  const button = document.getElementById("theme");
  const tell = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    page.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem(key, page.dataset.theme); } catch { /* as above */ }
    tell();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  tell();
  page.classList.add("scripted");
})();
