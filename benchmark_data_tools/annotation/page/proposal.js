// Proposals: detail that is found in an alpha, whose regions are switched off and on before it is applied.

import { reduce, reducedLevels } from "./canvas/mask.js";
import { fetchPixels } from "./saving/server.js";
import { $, banner, page, readOnlyReason, tools, view } from "./session.js";

export async function propose() {
  const { entry } = page;
  if (tools.readOnly) return banner(readOnlyReason());
  $("proposal").hidden = false;
  $("proposal-text").textContent = "Looking for detail…";
  const query = new URLSearchParams({
    opening_px: $("opening").value, kernel_px: $("dilation").value, source: $("source").value,
  });
  const asked = (page.asked = {});
  try {
    const pixels = await fetchPixels(`entries/${entry.id}/proposal?${query}`, entry.width, entry.height);
    if (page.asked !== asked || page.entry !== entry) return;
    if (entry.kind !== "mask") {
      // A trimap or a matte has no regions to choose: it is taken as a whole, and one undo drops it.
      hideProposal();
      tools.replace(pixels);
      page.saver.usedProposal = true;
      return;
    }
    if (!pixels.some(Boolean)) {
      hideProposal();
      return banner("Nothing is proposed: this alpha has no soft part. Lower Opening, or propose from the other alpha.");
    }
    const proposal = { width: entry.width, height: entry.height, pixels };
    proposal.levels = reducedLevels(proposal);
    proposal.update = (...rectangle) => reduce(proposal, ...rectangle);
    tools.propose(proposal);
    $("proposal-text").textContent = "Click regions off and on, then apply.";
  } catch (error) {
    if (page.asked === asked) hideProposal();
    throw error;
  }
}

export function hideProposal() {
  page.asked = null;
  $("proposal").hidden = true;
  if (view.proposal) tools.propose(null);
}

export function applyProposal() {
  page.mask.merge(view.proposal.pixels);
  const tiles = page.mask.commit();
  if (tiles.length) page.saver.usedProposal = true;
  page.saver.changed(tiles);
  hideProposal();
}

// Whether somebody chose regions of a proposal that is not applied yet.
export const proposalInHand = () => Boolean(view.proposal?.switched);
