// Runs before the first paint, so that a chosen theme never flashes in from the other one.
const theme = localStorage.getItem("steelyard-theme");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
