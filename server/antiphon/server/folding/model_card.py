"""README.md of an adapter's folder: what it is and how it was made, as the Hugging Face hub reads it.

Nothing of a client is in it: no name, no count of examples.
"""

from __future__ import annotations

import yaml

from antiphon.core.config import RunConfig, resolved
from antiphon.server.report.settings import training_settings


def model_card(config: RunConfig) -> str:
    """Return the card: metadata in YAML, then what was trained and with which settings."""
    base = config.model.model_name_or_path
    metadata = {
        "base_model": base,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "federated-learning", "antiphon"],
    }
    front = yaml.safe_dump(metadata, sort_keys=False)
    settings = yaml.safe_dump(training_settings(resolved(config)), sort_keys=False)
    return f"""---
{front}---

# {config.name}

A LoRA adapter of {base}, trained by clients that kept their data, by Antiphon's method
`{config.method.label}`.

```python
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

model = AutoPeftModelForCausalLM.from_pretrained("DIR")   # this folder
tokenizer = AutoTokenizer.from_pretrained("DIR")          # or that of the base model
```

## Settings

```yaml
{settings}```
"""
