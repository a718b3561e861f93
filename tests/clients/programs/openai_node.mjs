// OpenAI's own client for Node.js.
import OpenAI, { toFile } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseUrl, ...apis] = process.argv.slice(2);
const client = new OpenAI({
  baseURL: `${baseUrl}/v1`,
  apiKey: "none",
  defaultHeaders: { "x-cost-quality": "0.5" },
});
const rivers = "How do rivers form?";
const weather = "What's the weather in Paris and in Rome?";
const jason = "Jason is 25 years old.";
const Person = z.object({ name: z.string(), age: z.number().int() });
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const description = "Get the current weather in a city";
let cities = [];
function getWeather({ city }) {
  cities.push(city);
  return `${city}: sunny, 22 degrees`;
}

const programs = {
  async chat() {
    const messages = [{ role: "user", content: rivers }];
    const { data, response } = await client.chat.completions
      .create({ model: "auto", messages })
      .withResponse();
    let streamed = "";
    for await (const chunk of await client.chat.completions.create({
      model: "auto",
      messages,
      stream: true,
    })) {
      streamed += chunk.choices[0]?.delta?.content ?? "";
    }
    const runner = client.chat.completions.runTools({
      model: "auto",
      messages: [{ role: "user", content: weather }],
      tools: [
        {
          type: "function",
          function: {
            name: "get_weather",
            description,
            parameters,
            parse: JSON.parse,
            function: getWeather,
          },
        },
      ],
    });
    const after = await runner.finalContent();
    const parsed = await client.chat.completions.parse({
      model: "auto",
      messages: [{ role: "user", content: jason }],
      response_format: zodResponseFormat(Person, "person"),
    });
    return {
      text: data.choices[0].message.content,
      route: response.headers.get("x-route-model"),
      streamed,
      after,
      cities,
      person: parsed.choices[0].message.parsed,
    };
  },

  async responses() {
    const { data, response } = await client.responses
      .create({ model: "auto", input: rivers })
      .withResponse();
    let streamed = "";
    const stream = client.responses.stream({ model: "auto", input: rivers });
    stream.on("response.output_text.delta", (event) => (streamed += event.delta));
    await stream.finalResponse();
    const input = [{ role: "user", content: weather }];
    const tools = [
      { type: "function", name: "get_weather", description, parameters, strict: true },
    ];
    const called = await client.responses.create({ model: "auto", input, tools });
    input.push(...called.output);
    for (const item of called.output) {
      if (item.type !== "function_call") continue;
      const output = getWeather(JSON.parse(item.arguments));
      input.push({ type: "function_call_output", call_id: item.call_id, output });
    }
    const after = await client.responses.create({ model: "auto", input, tools });
    const parsed = await client.responses.parse({
      model: "auto",
      input: jason,
      text: { format: zodTextFormat(Person, "person") },
    });
    return {
      text: data.output_text,
      route: response.headers.get("x-route-model"),
      streamed,
      after: after.output_text,
      cities,
      person: parsed.output_parsed,
    };
  },

  async others() {
    const input = [rivers, weather];
    const vectors = await client.embeddings.create({ model: "sim-embed", input });
    const { response } = await client.embeddings
      .create({ model: "sim-embed", input: rivers })
      .withResponse();
    const picture = await client.images.generate({ model: "sim-image", prompt: "A river", n: 2 });
    const events = [];
    for await (const event of await client.images.generate({
      model: "sim-image",
      prompt: "A river",
      stream: true,
      partial_images: 1,
    })) {
      events.push(event.type);
    }
    const sound = await client.audio.speech.create({
      model: "sim-speech",
      voice: "alloy",
      input: rivers,
    });
    const bytes = Buffer.from(await sound.arrayBuffer());
    const hear = async (options) =>
      client.audio.transcriptions.create({
        model: "sim-transcribe",
        file: await toFile(bytes, "rivers.mp3"),
        ...options,
      });
    let words = "";
    for await (const event of await hear({ stream: true })) words += event.delta ?? "";
    const judged = await client.moderations.create({ model: "sim-moderation", input: "a bomb" });
    return {
      vectors: vectors.data.map((each) => each.embedding.length),
      cost: Number(response.headers.get("x-route-cost-usd")),
      pictures: picture.data.length,
      events,
      heard: (await hear({})).text,
      words,
      flagged: judged.results[0].flagged,
    };
  },
};

const seen = {};
for (const api of apis) {
  cities = [];
  seen[api] = await programs[api]();
}
console.log(JSON.stringify(seen));
