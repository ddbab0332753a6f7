"""Versions for other people's servers: blocks as PEFT LoRA adapters, with what routes prompts to them."""
