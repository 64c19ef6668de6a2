// Runs the program in workerd: `/first` does one step, any other path trains and returns the report.

import { firstStep, train } from './program.mjs';

export default {
  async fetch(request) {
    return Response.json(await (new URL(request.url).pathname === '/first' ? firstStep() : train()));
  },
};
