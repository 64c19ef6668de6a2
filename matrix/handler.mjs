// Runs the program in workerd: `/first` takes one step, any other path trains and reports.

import { firstStep, train } from './program.mjs';

export default {
  async fetch(request) {
    return Response.json(await (new URL(request.url).pathname === '/first' ? firstStep() : train()));
  },
};
