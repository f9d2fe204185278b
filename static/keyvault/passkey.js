// Lets the browser use or make a passkey, and sends what it says with the form that the button stands in.
const isPossible = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON);

const TOO_OFTEN = "too often";

const optionsFrom = async (button) => {
  const token = button.form.querySelector("[name=csrfmiddlewaretoken]").value;
  const answer = await fetch(button.dataset.passkeyUrl, { method: "POST", headers: { "X-CSRFToken": token } });
  if (answer.status === 429) throw new Error(TOO_OFTEN);
  if (!answer.ok) throw new Error("no challenge");
  return answer.json();
};

const credentialFor = async (button) => {
  const options = await optionsFrom(button);
  if (button.dataset.passkey === "create") {
    return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
  }
  return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
};

const wordsFor = (error) => {
  if (error.name === "InvalidStateError") return "This device holds a passkey of yours already.";
  if (error.message === TOO_OFTEN) return "This was tried too often from here. Wait 15 minutes, or take another way.";
  return "No passkey was used. Try again, or take another way.";
};

const use = async (button, status) => {
  if (!button.form.reportValidity()) return;
  button.disabled = true;
  status.textContent = "Waiting for your passkey …";
  try {
    const credential = await credentialFor(button);
    button.form.elements[button.dataset.passkeyInto].value = JSON.stringify(credential.toJSON());
    if (!button.dataset.passkeyThen) return button.form.submit();
    status.textContent = button.dataset.passkeyThen; // the form has several buttons, and the person chooses one
  } catch (error) {
    status.textContent = wordsFor(error);
    button.disabled = false;
  }
};

for (const button of document.querySelectorAll("button[data-passkey]")) {
  const status = button.parentElement.querySelector("[data-passkey-status]");
  if (!isPossible) continue;
  button.hidden = false;
  status.textContent = "";
  button.addEventListener("click", () => use(button, status));
}
