"""Score an adapter with transformers and peft alone: no line of Antiphon runs here.

    python tests/score_outside.py REQUEST.json     prints one JSON object {client: accuracy}

The request holds `base` and `adapter` (folders) and `clients`: name → list of [prompt, words, label].
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.no_grad()
def main(request):
    tokenizer = AutoTokenizer.from_pretrained(request["base"])
    base = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32)
    model = PeftModel.from_pretrained(base, request["adapter"]).eval()
    scores = {}
    for name, examples in request["clients"].items():
        right = 0
        for prompt, words, label in examples:
            ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            answers = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in words]
            right += int(model(ids).logits[0, -1, answers].argmax()) == label
        scores[name] = right / len(examples)
    print(json.dumps(scores))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
