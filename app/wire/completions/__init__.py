"""OpenAI's completions of plain prompts: read, and told as chat completions and back."""
