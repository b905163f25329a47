/* A run that is going on: progress as it comes, and the report anew when a cell has ended. */

function showProgress(state) {
  const share = state.planned ? 100 * state.done / state.planned : 0;
  const bar = document.querySelector('#progress .bar');
  bar.setAttribute('aria-valuenow', share.toFixed(0));
  bar.firstElementChild.style.width = `${share}%`;
  byId('progress').hidden = false;
  const parts = [`${state.done} of ${state.planned} examples`, `${state.cells_done} of ${state.cells} cells`];
  if (state.running) parts.push(`now ${state.running.model} on ${state.running.task}: ${state.running.done} of ${state.running.planned}`);
  if (known(state.rate) && state.rate > 0) parts.push(`${short(state.rate)} examples/s`, `about ${duration((state.planned - state.done) / state.rate)} left`);
  if (state.cells && state.cells_ended === state.cells) parts.push('all cells have ended');
  byId('progress-text').textContent = parts.join(' · ');
}

function listen(redraw) {
  const events = new EventSource('events');
  let asking = false; // a long report takes longer than the next event
  events.addEventListener('progress', (event) => {
    const state = JSON.parse(event.data);
    byId('message').hidden = true;
    showProgress(state);
    if (asking || reportVersion === `"${state.version}"`) return;
    asking = true;
    redraw().finally(() => { asking = false; });
  });
  events.addEventListener('error', () => {
    byId('message').textContent = 'The connection to tinyllm serve is lost; trying again.';
    byId('message').hidden = false;
  });
}
