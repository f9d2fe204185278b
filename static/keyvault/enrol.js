// Moves the token of a one-time link from behind the "#" into the form, and out of the address bar and the history.
const token = window.location.hash.slice(1);
if (token) {
  history.replaceState(null, "", window.location.pathname);
  document.querySelector("#enrol-form [name=token]").value = token;
  document.querySelector("#enrol-form button[type=submit]").focus();
}
