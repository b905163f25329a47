/* Where each weight lies in a loaded model. */
#include "model/family.h"

tl_stack_weights *tl_model_stack(tl_model *model, tl_stack stack) {
    return stack == TL_STACK_ENCODER ? &model->encoder : &model->decoder;
}

tl_norm_weights *tl_model_norm(tl_model *model, const tl_weight_need *need) {
    tl_stack_weights *stack = tl_model_stack(model, need->stack);
    tl_layer_weights *layer = need->layer >= 0 ? &stack->layers[need->layer] : NULL;
    switch (need->role) {
    case TL_ROLE_EMBED_NORM:
        return &model->embed_norm;
    case TL_ROLE_ATTENTION_NORM:
        return &layer->self.norm;
    case TL_ROLE_CROSS_NORM:
        return &layer->cross.norm;
    case TL_ROLE_FFN_NORM:
        return &layer->ffn_norm;
    default:
        return &stack->final_norm;
    }
}

tl_linear_weights *tl_model_linear(tl_model *model, const tl_weight_need *need) {
    tl_layer_weights *layer =
        need->layer >= 0 ? &tl_model_stack(model, need->stack)->layers[need->layer] : NULL;
    switch (need->role) {
    case TL_ROLE_PROJECT_IN:
        return &model->project_in;
    case TL_ROLE_PROJECT_OUT:
        return &model->project_out;
    case TL_ROLE_Q:
        return &layer->self.q;
    case TL_ROLE_K:
        return &layer->self.k;
    case TL_ROLE_V:
        return &layer->self.v;
    case TL_ROLE_O:
        return &layer->self.o;
    case TL_ROLE_CROSS_Q:
        return &layer->cross.q;
    case TL_ROLE_CROSS_K:
        return &layer->cross.k;
    case TL_ROLE_CROSS_V:
        return &layer->cross.v;
    case TL_ROLE_CROSS_O:
        return &layer->cross.o;
    case TL_ROLE_GATE:
        return &layer->gate;
    case TL_ROLE_UP:
        return &layer->up;
    case TL_ROLE_DOWN:
        return &layer->down;
    default:
        return &model->head;
    }
}
