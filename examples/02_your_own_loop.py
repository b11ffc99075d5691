"""A loss alone, in a loop of your own: no store, no study."""

import torch

import goodteacher as gt


def main() -> None:
    torch.manual_seed(0)
    problem = gt.load("gaussian", train=512, validation=128, test=128)
    student = torch.nn.Linear(30, 3)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    # The true label distribution is known here, and log p* are logits whose softmax is p*.
    teacher_logits = problem.train.truth.clamp_min(1e-30).log()
    for step in range(200):
        loss = gt.losses.kd(student(problem.train.inputs.tensor), teacher_logits, temperature=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step:3}: KL to the true distribution {loss.item():.4f} nats")
    right = student(problem.test.inputs.tensor).argmax(dim=1) == problem.test.labels
    print(f"accuracy {right.float().mean():.1%} of {len(right)}")


if __name__ == "__main__":
    main()
