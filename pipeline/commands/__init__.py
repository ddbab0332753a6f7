"""What the commands of ``melo`` do; ``pipeline.cli`` says what they are called and what they take."""
