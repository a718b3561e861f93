// The AI SDK with its providers for OpenAI, for what is compatible with it, and for Anthropic.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseUrl, ...apis] = process.argv.slice(2);
const settings = {
  baseURL: `${baseUrl}/v1`,
  apiKey: "none",
  headers: { "x-cost-quality": "0.5" },
};
const Person = z.object({ name: z.string(), age: z.number().int() });
let cities = [];
const tools = {
  get_weather: tool({
    description: "Get the current weather in a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      cities.push(city);
      return `${city}: sunny, 22 degrees`;
    },
  }),
};

async function asked(model) {
  const prompt = "How do rivers form?";
  const whole = await generateText({ model, prompt });
  const stream = streamText({ model, prompt });
  let streamed = "";
  for await (const piece of stream.textStream) streamed += piece;
  const agent = await generateText({
    model,
    prompt: "What's the weather in Paris and in Rome?",
    tools,
    stopWhen: stepCountIs(5),
  });
  // The same, streamed: calls and their results are steps of one stream.
  const steps = streamText({
    model,
    prompt: "What's the weather in Paris and in Rome?",
    tools,
    stopWhen: stepCountIs(5),
  });
  let streamedAfter = "";
  for await (const piece of steps.textStream) streamedAfter += piece;
  const parsed = await generateText({
    model,
    prompt: "Jason is 25 years old.",
    output: Output.object({ schema: Person }),
  });
  return {
    text: whole.text,
    route: whole.response.headers["x-route-model"],
    streamed,
    after: agent.text,
    streamed_after: streamedAfter,
    cities,
    person: parsed.output,
  };
}

const programs = {
  async chat() {
    const compatible = createOpenAICompatible({
      name: "steelyard",
      ...settings,
      includeUsage: true,
      supportsStructuredOutputs: true,
    });
    const told = await asked(compatible("auto"));
    // Without that, the SDK asks for JSON of any kind.
    const plain = createOpenAICompatible({ name: "steelyard", ...settings });
    const parsed = await generateText({
      model: plain("auto"),
      prompt: "Jason is 25 years old. Answer in JSON with the keys name and age.",
      output: Output.object({ schema: Person }),
    });
    return { ...told, in_words: parsed.output };
  },
  responses: () => asked(createOpenAI(settings)("auto")),
  async others() {
    const model = createOpenAI(settings).embedding("sim-embed");
    const { embeddings } = await embedMany({ model, values: ["a river", "a ship"] });
    return { vectors: embeddings.map((each) => each.length) };
  },
  messages: () => asked(createAnthropic(settings)("auto")),
};

const seen = {};
for (const api of apis) {
  cities = [];
  seen[api] = await programs[api]();
}
console.log(JSON.stringify(seen));
